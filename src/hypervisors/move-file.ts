import { constants } from 'node:fs';
import { copyFile, type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { VmError } from '../errors.ts';

/** @throws {VmError} IO when there is something of this name, a link that leads nowhere as well */
export async function requireFree(file: string): Promise<void> {
  const there = await lstat(file).then(
    () => true,
    () => false,
  );
  if (there) throw new VmError('IO', `${file} exists already`, { path: file, errno: 'EEXIST' });
}

/** Opens what a VMM has left: a link it put there is not followed, and a FIFO is not waited for. */
const asLeft = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Makes a file that a VMM wrote one of ours, for us alone, at another place. What is no file, such as a link to one of the host's, is removed.
 * @param copy makes the new file where that is on another file system
 * @throws {VmError} VMM_FAILED when it is no file
 * @throws the file system's errors
 */
export async function moveFile(from: string, to: string, copy: typeof copyWhole = copyWhole): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await withFile(from, (file) => copy(`/proc/self/fd/${file.fd}`, to));
  }
  try {
    await withFile(to, async (file) => {
      await file.chown(process.geteuid?.() ?? 0, process.getegid?.() ?? 0);
      await file.chmod(0o600);
    });
  } catch (error) {
    await rm(to, { recursive: true, force: true });
    throw error;
  }
}

async function copyWhole(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
}

async function withFile(path: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const noFile = (cause?: unknown): VmError =>
    new VmError('VMM_FAILED', `the VMM left something else than a file: ${path}`, { path, cause });
  const file = await open(path, asLeft).catch((error: NodeJS.ErrnoException) => {
    // A link, or a socket.
    throw error.code === 'ELOOP' || error.code === 'ENXIO' ? noFile(error) : error;
  });
  try {
    if (!(await file.stat()).isFile()) throw noFile();
    await use(file);
  } finally {
    await file.close();
  }
}
