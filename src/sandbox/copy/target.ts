import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import type { TarEntry } from '../../transports/tar/entry.ts';
import { hostError } from './host-error.ts';

/** Where on this host the top of an archive goes. */
export class Target {
  readonly folder: FileHandle;
  /** its name there; undefined: the folder itself takes what is in the archive */
  readonly leaf: Buffer | undefined;
  #taken = false;

  constructor(folder: FileHandle, leaf: Buffer | undefined) {
    this.folder = folder;
    this.leaf = leaf;
  }

  /** The folder, for somebody who will close it. */
  takeFolder(): FileHandle {
    this.#taken = true;
    return this.folder;
  }

  async close(): Promise<void> {
    if (!this.#taken) await this.folder.close();
  }
}

/**
 * The target by cp's rules: into a folder that exists, else under the target's own name. Links in the target itself are the
 * caller's own and are followed.
 * @throws {VmError} FILE_NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, IO
 */
export async function findTarget(target: string, top: TarEntry): Promise<Target> {
  const found = await stat(target).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw hostError(error, target);
  });
  if (found?.isDirectory() === true) {
    const name = top.name.toString('latin1').replace(/\/$/, '');
    return new Target(await openFolder(target), name === '.' ? undefined : Buffer.from(name, 'latin1'));
  }
  if (top.type === 'folder' && found !== undefined)
    throw new VmError('FILE_INVALID', `${target}: a folder can't take the place of a file`, { path: target });
  if (top.type !== 'folder' && /(^|\/)\.{0,2}$/.test(target))
    throw new VmError('FILE_NOT_FOUND', `${target}: no such folder`, { path: target });
  const whole = path.resolve(target);
  return new Target(await openFolder(path.dirname(whole)), Buffer.from(path.basename(whole)));
}

async function openFolder(folder: string): Promise<FileHandle> {
  try {
    return await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    throw hostError(error, folder);
  }
}
