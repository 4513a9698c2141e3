import { close, constants, open, read } from 'node:fs';
import { Socket } from 'node:net';
import { promisify } from 'node:util';

/*
 * `alive` is a FIFO whose write end a program and its keeper inherit: end of file tells everyone who reads it that both have
 * ended, and the kernel wakes them. It is a hint only: the program could close its end, or write into it.
 */

const openFile = promisify(open) as (path: string, flags: number) => Promise<number>;
const closeFile = promisify(close);
const readFile = promisify(read);

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
