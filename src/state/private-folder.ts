import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../errors.ts';

/**
 * Makes a folder that is ours alone (0700), with the folders above it, or accepts one that already is.
 * One that only has a too open mode gets the right one.
 * @throws {VmError} PERMISSION when the path is a link, not a folder or another user's; IO when it can't be made
 */
export async function ensurePrivateFolder(folder: string): Promise<void> {
  try {
    mkdirSync(path.dirname(folder), { recursive: true, mode: 0o700 });
    if (!isMade(folder)) examine(folder);
  } catch (error) {
    if (error instanceof VmError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't make the folder ${folder}: ${message}`, { path: folder, errno: code, cause: error });
  }
}

function isMade(folder: string): boolean {
  try {
    mkdirSync(folder, { mode: 0o700 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function examine(folder: string): void {
  const refuse = (why: string): VmError =>
    new VmError('PERMISSION', `${folder} ${why}`, {
      path: folder,
      advice: 'Remove it, or set POLYVISOR_HOME to a folder of your own.',
    });
  const found = lstatSync(folder);
  if (found.isSymbolicLink()) throw refuse('is a symbolic link');
  if (!found.isDirectory()) throw refuse('is not a folder');
  if (found.uid !== process.getuid?.()) throw refuse(`belongs to another user (uid ${found.uid})`);
  // It is ours and no link, so nobody else could put one in its place: its parent is ours or sticky.
  if ((found.mode & 0o077) !== 0) chmodSync(folder, 0o700);
}
