import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../errors.ts';

/**
 * Writes a file so that a reader sees the old content or the new one and never a part, also after a crash of the host.
 * Mode 0600. Nothing is left behind on failure.
 * @throws {VmError} IO
 */
export async function writeAtomically(file: string, content: string): Promise<void> {
  await replace(file, content, true);
}

/**
 * The same for what says something of running processes only, which don't survive a crash of the host: after one, the file may
 * be empty. It spares the wait for the disk.
 * @throws {VmError} IO
 */
export async function writeUnflushed(file: string, content: string): Promise<void> {
  await replace(file, content, false);
}

async function replace(file: string, content: string, flushed: boolean): Promise<void> {
  const fresh = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(content);
      if (flushed) await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => undefined);
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't write ${file}: ${message}`, { path: file, errno: code, cause: error });
  }
}
