import { close, constants, openSync, write } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { VmError } from '../../errors.ts';
import { makeFifos } from './fifo.ts';

/*
 * A lease is a FIFO. A process lives while someone holds its write end; the kernel closes that with its holder, however
 * it ends. Descriptors are bare numbers here: a FileHandle would be closed, and the VM with it, when it is collected.
 */

const closeFile = promisify(close);
const writeFile = promisify(write) as unknown as (fd: number, text: string) => Promise<number>;

/** The write end of a lease, held by this process. It does not keep the process alive. */
export class Lease {
  #fd: number | undefined;
  #closed: Promise<void> = Promise.resolve();

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Whether this process still holds it. */
  get held(): boolean {
    return this.#fd !== undefined;
  }

  /**
   * Gives the keeper its last order: `detach`, to end and let the child live on without an owner; `end`, to end it at
   * once and not to prune.
   * @throws {VmError} NOT_RUNNING
   */
  async order(word: 'detach' | 'end'): Promise<void> {
    if (this.#fd === undefined) throw new VmError('NOT_RUNNING', 'the lease was let go already');
    try {
      await writeFile(this.#fd, `${word}\n`);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new VmError('NOT_RUNNING', `no keeper listens: ${message}`, { errno: code, cause: error });
    }
  }

  /** Closes the write end: when nobody else holds it, the keeper ends its child. May be repeated; each waits until it is closed. */
  async release(): Promise<void> {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) this.#closed = closeFile(fd);
    await this.#closed;
  }
}

/**
 * Makes a lease, in place of an older one, and opens both ends. The read end is for the keeper.
 * @throws {VmError} HOST_MISSING when there is no `mkfifo`, IO
 */
export async function makeLease(path: string): Promise<{ lease: Lease; readEnd: number }> {
  await makeFifos(path);
  const lease = openLease(path);
  try {
    return { lease, readEnd: openEnd(path, constants.O_RDONLY) };
  } catch (error) {
    await lease.release();
    throw error;
  }
}

/** Takes hold of a lease that was just made. @throws {VmError} IO */
export function openLease(path: string): Lease {
  // Read-write: it waits for no other side (fifo(7)).
  return new Lease(openEnd(path, constants.O_RDWR));
}

function openEnd(path: string, flags: number): number {
  try {
    return openSync(path, flags | constants.O_NOFOLLOW);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't open the lease ${path}: ${message}`, { path, errno: code, cause: error });
  }
}

/**
 * Takes part in a lease that another process made: from then on its child also lives while this process does.
 * Make sure afterwards that the child is alive: its keeper may have been about to end it.
 * @throws {VmError} NOT_RUNNING when there is no lease, or no keeper reads it; IO
 */
export async function joinLease(path: string): Promise<Lease> {
  try {
    return new Lease(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENXIO' || code === 'ENOENT') {
      throw new VmError('NOT_RUNNING', `nobody keeps the lease ${path}`, { path, errno: code, cause: error });
    }
    throw new VmError('IO', `can't open the lease ${path}: ${message}`, { path, errno: code, cause: error });
  }
}

/** Whether a keeper reads a lease: it is yet to end its child, or is at it. @throws {VmError} IO */
export async function hasKeeper(path: string): Promise<boolean> {
  try {
    await (await joinLease(path)).release();
    return true;
  } catch (error) {
    if (error instanceof VmError && error.code === 'NOT_RUNNING') return false;
    throw error;
  }
}

/** Resolves when no keeper reads a lease any more. There is no event that tells a writer: this looks again and again. */
export async function untilUnread(path: string): Promise<void> {
  for (let pauseMs = 1; await hasKeeper(path); pauseMs = Math.min(pauseMs * 2, 100)) await delay(pauseMs);
}
