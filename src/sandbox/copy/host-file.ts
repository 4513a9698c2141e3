import type { BigIntStats } from 'node:fs';
import { chown, constants, lstat, open, readlink, rmdir, type FileHandle } from 'node:fs/promises';
import { hostMark, type Mark } from './baseline.ts';
import { within } from './below.ts';

const READ_BYTES = 65_536;

/** What a name in an open folder stands for; undefined: there is none. */
export async function markIn(folder: FileHandle, leaf: Buffer): Promise<Mark | undefined> {
  const found = await statIn(folder, leaf);
  if (found?.isSymbolicLink() !== true) return found && hostMark(found);
  return hostMark(found, await readlink(within(folder, leaf), { encoding: 'buffer' }));
}

/** Whether two names in a folder stand for files, or links, that say the same. */
export async function hasSameContent(folder: FileHandle, one: Buffer, other: Buffer): Promise<boolean> {
  const [first, second] = [await markIn(folder, one), await markIn(folder, other)];
  if (first?.type !== second?.type) return false;
  if (first?.type === 'symlink') return first.link === second?.link;
  if (first?.type !== 'file' || first.size !== second?.size) return false;
  const left = await openIn(folder, one);
  try {
    const right = await openIn(folder, other);
    try {
      return await isSame(left, right);
    } finally {
      await right.close();
    }
  } finally {
    await left.close();
  }
}

/** What takes a file's place gets its owner, where we may give files away. */
export async function keepOwner(folder: FileHandle, leaf: Buffer, successor: Buffer): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  const [before, after] = [await statIn(folder, leaf), await statIn(folder, successor)];
  if (before?.isFile() !== true || after?.isFile() !== true) return;
  if (before.uid !== after.uid || before.gid !== after.gid)
    await chown(within(folder, successor), Number(before.uid), Number(before.gid));
}

/** @returns false when something is in it */
export async function removeIfEmpty(folder: FileHandle, leaf: Buffer): Promise<boolean> {
  try {
    await rmdir(within(folder, leaf));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTEMPTY') return false;
    throw error;
  }
}

/** Whether a name, or a folder on the way to it, is not there. */
export function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '');
}

async function statIn(folder: FileHandle, leaf: Buffer): Promise<BigIntStats | undefined> {
  try {
    return await lstat(within(folder, leaf), { bigint: true });
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Should a fifo take the file's place now, the open does not wait for a writer. */
async function openIn(folder: FileHandle, leaf: Buffer): Promise<FileHandle> {
  return open(within(folder, leaf), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

async function isSame(left: FileHandle, right: FileHandle): Promise<boolean> {
  const [one, other] = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)];
  for (let at = 0; ;) {
    const { bytesRead } = await left.read(one, 0, READ_BYTES, at);
    const { bytesRead: others } = await right.read(other, 0, READ_BYTES, at);
    if (bytesRead !== others || one.compare(other, 0, bytesRead, 0, bytesRead) !== 0) return false;
    if (bytesRead === 0) return true;
    at += bytesRead;
  }
}
