import { statSync } from 'node:fs';
import { chmod, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../errors.ts';

/*
 * Memory in a file: a template leaves its own there, and clones map it privately.
 */

const mib = 2 ** 20;

/**
 * Makes the file that a template's memory is to be in. It takes no room yet. A VMM with a uid of its own must be able to open it, so everyone
 * may, where its folder lets nobody else in.
 * @throws {VmError} IO when it is there already, or can't be made
 */
export async function makeMemoryFile(file: string, sizeMiB: number): Promise<void> {
  try {
    const handle = await open(file, 'wx', 0o600);
    try {
      await handle.truncate(sizeMiB * mib);
    } finally {
      await handle.close();
    }
    if (await isClosed(path.dirname(file))) await chmod(file, 0o666);
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file, field: 'memoryPath' });
  }
}

/**
 * Makes sure that the guest would find all its memory: a VMM itself maps a file that was cut short, and the guest dies of it.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID
 */
export function requireMemoryFile(file: string, sizeMiB: number): void {
  const size = sizeOf(file);
  if (size === sizeMiB * mib) return;
  throw new VmError('FILE_INVALID', `${file} has ${size} bytes, and the guest had ${sizeMiB * mib}`, { path: file });
}

function sizeOf(file: string): number {
  try {
    return statSync(file).size;
  } catch (error) {
    const { code: errno, message } = error as NodeJS.ErrnoException;
    const missing = errno === 'ENOENT';
    const problem = missing ? `the memory of the template is not there: ${file}` : `${file}: ${message}`;
    throw new VmError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', problem, {
      path: file,
      errno,
      cause: error,
      advice: missing ? 'Make the template again: memory in tmpfs is gone when the host has rebooted.' : undefined,
    });
  }
}

/** Whether a folder is ours and lets nobody else in. */
export async function isClosed(folder: string): Promise<boolean> {
  const { mode, uid } = await stat(folder);
  return (mode & 0o077) === 0 && uid === process.geteuid?.();
}
