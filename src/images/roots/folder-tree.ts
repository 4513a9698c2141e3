import { lstat, readdir, readlink } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { hostError } from './host-error.ts';
import type { TreeLimits } from './layers.ts';
import { type FolderNode, newFolder, type TreeNode } from './tree.ts';
import type { XattrsByPath } from './xattr-text.ts';

const separator = Buffer.from('/');

/**
 * A folder of the host as a tree. Files stay where they are and are read when the image is written. What belongs to an ordinary user who
 * imports it belongs to root in the image; for root all owners stay. Sockets are left out, as tar leaves them out.
 * @param xattrs extended attributes, by absolute paths as latin1; none by default
 * @throws {VmError} IMAGE_INVALID for devices, or more than the limits allow; FILE_NOT_FOUND, FILE_UNREADABLE, ABORTED
 */
export async function folderTree(
  folder: string,
  limits: TreeLimits,
  signal?: AbortSignal,
  xattrs: XattrsByPath = new Map(),
): Promise<FolderNode> {
  const found = await lstat(folder).catch((cause: unknown) => {
    throw hostError(folder, cause);
  });
  const top = Buffer.from(path.resolve(folder));
  const root: FolderNode = { ...newFolder(1), ...attributesOf(top, found, xattrs) };
  const names = new Map<string, TreeNode>();
  const left = { ...limits };
  const ahead: { at: Buffer; node: FolderNode }[] = [{ at: top, node: root }];
  for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
    for (const name of await listing(next.at)) {
      signal?.throwIfAborted();
      const file = Buffer.concat([next.at, separator, name]);
      const stats = await lstat(file).catch((cause: unknown) => {
        throw hostError(file.toString(), cause);
      });
      left.entries -= 1;
      left.bytes -= stats.isFile() ? stats.size : 0;
      if (left.entries < 0 || left.bytes < 0)
        throw new VmError(
          'IMAGE_INVALID',
          `${folder} holds more than ${limits.bytes} bytes in ${limits.entries} files`,
          {
            path: folder,
            advice: 'Allow more with `maxBytes` (`--max-size`).',
          },
        );
      const key = `${stats.dev}:${stats.ino}`;
      const node = names.get(key) ?? (await nodeOf(file, stats, xattrs));
      if (node === undefined) continue;
      if (stats.nlink > 1 && node.kind !== 'folder') names.set(key, node);
      next.node.children.set(name.toString('latin1'), node);
      if (node.kind === 'folder') ahead.push({ at: file, node });
    }
  }
  return root;
}

async function listing(folder: Buffer): Promise<Buffer[]> {
  try {
    return await readdir(folder, { encoding: 'buffer' });
  } catch (cause) {
    throw hostError(folder.toString(), cause);
  }
}

/** Undefined for what no image has. */
async function nodeOf(file: Buffer, stats: Stats, xattrs: XattrsByPath): Promise<TreeNode | undefined> {
  const shown = file.toString();
  const attributes = { ...attributesOf(file, stats, xattrs), layer: 1 };
  if (stats.isDirectory()) return { ...attributes, kind: 'folder', children: new Map() };
  if (stats.isFIFO()) return { ...attributes, kind: 'fifo' };
  if (stats.isSocket()) return undefined;
  if (stats.isSymbolicLink()) {
    const target = await readlink(file, { encoding: 'buffer' }).catch((cause: unknown) => {
      throw hostError(shown, cause);
    });
    return { ...attributes, kind: 'symlink', target: target.toString('latin1') };
  }
  if (!stats.isFile()) throw new VmError('IMAGE_INVALID', `${shown} is a device`, { path: shown });
  // The file is opened by its name as text later on.
  if (!Buffer.from(shown).equals(file))
    throw new VmError('IMAGE_INVALID', `the name of ${shown} is no UTF-8`, {
      path: shown,
      advice: 'Import a tar archive of the folder: its names may be anything.',
    });
  return { ...attributes, kind: 'file', data: { file: shown, offset: 0, size: stats.size } };
}

function attributesOf(
  file: Buffer,
  stats: Stats,
  xattrs: XattrsByPath,
): Pick<TreeNode, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'> {
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  return {
    mode: stats.mode & 0o7777,
    uid: stats.uid === uid ? 0 : stats.uid,
    gid: stats.gid === gid ? 0 : stats.gid,
    mtime: Math.max(0, Math.floor(stats.mtimeMs / 1000)),
    xattrs: xattrs.get(file.toString('latin1')) ?? new Map(),
  };
}
