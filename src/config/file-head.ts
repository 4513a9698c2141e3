import { closeSync, constants, openSync, readSync } from 'node:fs';

/**
 * The first bytes of a file that tells by them what it is.
 * @returns undefined for one that can't be read: what is wrong with it is told where all files are looked at
 */
export function headOf(path: string, bytes: number): Buffer | undefined {
  let fd: number;
  try {
    // A FIFO would be waited for.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
  try {
    const buffer = Buffer.alloc(bytes);
    return buffer.subarray(0, readSync(fd, buffer, 0, bytes, 0));
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}
