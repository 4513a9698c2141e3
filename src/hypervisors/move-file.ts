import { constants } from 'node:fs';
import { chmod, chown, copyFile, lstat, rename } from 'node:fs/promises';
import { VmError } from '../errors.ts';

/** @throws {VmError} IO when there is something of this name, a link that leads nowhere as well */
export async function requireFree(file: string): Promise<void> {
  const there = await lstat(file).then(
    () => true,
    () => false,
  );
  if (there) throw new VmError('IO', `${file} exists already`, { path: file, errno: 'EEXIST' });
}

/** Makes a file that a VMM wrote in its own folder one of ours, for us alone, at another place. @throws the file system's errors */
export async function moveFile(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
  await chown(to, process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
  await chmod(to, 0o600);
}
