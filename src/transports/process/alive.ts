import { close, closeSync, constants, open, openSync, read } from 'node:fs';
import { Socket } from 'node:net';
import { promisify } from 'node:util';

/*
 * `alive` is a FIFO whose write end a program and its keeper inherit: end of file tells everyone who reads it that both have
 * ended, and the kernel wakes them. It is a hint only: the program could close its end, or write into it.
 */

const openFile = promisify(open) as (path: string, flags: number) => Promise<number>;
const closeFile = promisify(close);
const readFile = promisify(read);

/** Opens both ends of a FIFO, for a keeper that is about to start. */
export function openAlive(path: string): { writeEnd: number; readEnd: number } {
  // Read-write first: neither end's opening then waits for the other (fifo(7)).
  const both = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    const writeEnd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      return { writeEnd, readEnd: openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW) };
    } catch (error) {
      closeSync(writeEnd);
      throw error;
    }
  } finally {
    closeSync(both);
  }
}

/** Resolves when nobody holds the write end; at once when there is no such FIFO, or when the signal ends the wait. */
export async function untilSilent(path: string, signal: AbortSignal): Promise<void> {
  const { O_RDONLY, O_NONBLOCK, O_NOFOLLOW } = constants;
  const fd = await openFile(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW).catch(() => undefined);
  if (fd === undefined) return;
  // Who opens a FIFO after its last writer has gone is never woken: poll tells only of writers that go later.
  if (await isAtEnd(fd)) return closeFile(fd);
  await new Promise<void>((resolve) => {
    const socket = new Socket({ fd, readable: true, writable: false });
    const onAbort = (): void => void socket.destroy();
    socket.on('error', () => undefined).on('end', onAbort);
    socket.on('close', () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    socket.resume();
  });
}

/** Whether a FIFO, opened without waiting, has no writer; with one it would have nothing to read (EAGAIN), or data. */
async function isAtEnd(fd: number): Promise<boolean> {
  try {
    return (await readFile(fd, Buffer.alloc(1), 0, 1, null)).bytesRead === 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
    throw error;
  }
}
