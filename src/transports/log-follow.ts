import { constants, watch } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../errors.ts';

/** Bytes read at a time. */
const blockBytes = 64 * 1024;

/** How a log is read. */
export interface LogReading {
  /** where to begin in the file that is there now; at its beginning by default */
  startAt?: ((log: FileHandle) => Promise<number>) | undefined;
  /** go on with what comes, until this settles; without it the log ends where it ends now */
  until?: Promise<unknown> | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * A log as it was written, in pieces. One that is not there is empty, and may still come. When it is cut short it is read from its
 * new beginning; when another file takes its place, that one is read after it.
 * @throws {VmError} IO when it can't be read or is no ordinary file; whatever the signal says
 */
export async function* readLog(file: string, reading: LogReading = {}): AsyncGenerator<Buffer, void, undefined> {
  const { until, signal } = reading;
  const changes = until === undefined ? undefined : new Changes(file, until, signal);
  let log: FileHandle | undefined;
  try {
    log = await openLog(file);
    let offset = (log && (await reading.startAt?.(log))) ?? 0;
    // Without `until`: up to what was there at the beginning, so that a guest that writes on and on doesn't keep us here.
    const end = until === undefined ? await sizeOf(log) : Number.POSITIVE_INFINITY;
    const block = Buffer.alloc(blockBytes);
    for (;;) {
      signal?.throwIfAborted();
      // Taken before the file is read: what is written after that is seen by the read.
      const last = changes === undefined || changes.over;
      changes?.rearm();
      if (log !== undefined && (await sizeOf(log)) < offset) offset = 0;
      const wanted = Math.min(blockBytes, end - offset);
      const bytesRead = log === undefined || wanted <= 0 ? 0 : (await log.read(block, 0, wanted, offset)).bytesRead;
      offset += bytesRead;
      if (bytesRead > 0) {
        yield Buffer.from(block.subarray(0, bytesRead));
        continue;
      }
      const successor = changes === undefined ? undefined : await replaced(file, log);
      if (successor !== undefined) {
        await log?.close();
        [log, offset] = [successor, 0];
      } else if (last) {
        return;
      } else {
        await changes?.next();
      }
    }
  } finally {
    changes?.close();
    await log?.close();
  }
}

/** What lies in a VMM's folder was put there by the VMM: links are not followed, and a FIFO is not waited for. */
async function openLog(file: string): Promise<FileHandle | undefined> {
  const facts = { path: file };
  try {
    const log = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if ((await log.stat()).isFile()) return log;
    await log.close();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new VmError('IO', `cannot read the log: ${message}`, { ...facts, errno: code, cause });
  }
  throw new VmError('IO', `the log ${file} is no ordinary file`, facts);
}

async function sizeOf(log: FileHandle | undefined): Promise<number> {
  return log === undefined ? 0 : (await log.stat()).size;
}

/** The file that has taken the log's place, if one has. */
async function replaced(file: string, log: FileHandle | undefined): Promise<FileHandle | undefined> {
  const [there, open] = await Promise.all([lstat(file).catch(() => undefined), log?.stat()]);
  if (there === undefined || (there.ino === open?.ino && there.dev === open.dev)) return undefined;
  return openLog(file);
}

/** Tells when a file may have changed, or all is over; by the kernel's events, nothing is polled. */
class Changes {
  over = false;
  readonly #close: () => void;
  #wake: () => void = () => undefined;
  #next: Promise<void> = Promise.resolve();

  constructor(file: string, until: Promise<unknown>, signal: AbortSignal | undefined) {
    const wake = (): void => this.#wake();
    const watcher = watch(path.dirname(file), (_, name) => {
      if (name === null || name === path.basename(file)) wake();
    });
    // A folder that is removed while it is watched ends nothing by itself: the VM's end does.
    watcher.on('error', wake);
    signal?.addEventListener('abort', wake);
    const end = (): void => {
      this.over = true;
      wake();
    };
    until.then(end, end);
    this.#close = () => {
      watcher.close();
      signal?.removeEventListener('abort', wake);
    };
  }

  /** What happens from now on settles `next`. */
  rearm(): void {
    this.#next = new Promise((resolve) => (this.#wake = resolve));
  }

  next(): Promise<void> {
    return this.#next;
  }

  close(): void {
    this.#close();
  }
}
