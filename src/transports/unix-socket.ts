import { watch } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';

export interface ConnectOptions extends CallOptions {
  /** fail at once when there is no such socket, instead of waiting until it appears */
  mustExist?: boolean | undefined;
}

/** Milliseconds until waiting for a socket ends, when the caller gives no limit. */
const defaultTimeoutMs = 30_000;

/**
 * Pauses in ms between attempts when a socket is there and nobody listens: a server binds and listens in two steps, and
 * no event tells of the second one. The same pauses are for a server with a full queue (EAGAIN).
 */
const refusedPauses = [1, 2, 4, 8, 16, 32, 64, 128];

/**
 * Connects to a unix socket; waits for the socket to appear (told by the kernel, nothing is polled).
 * @throws {VmError} TIMEOUT (after 30 s by default) or ABORTED; VMM_GONE when nobody listens on it; BUSY when its queue
 *   is full; FILE_NOT_FOUND when its folder, or with `mustExist` the socket, is missing; PERMISSION; INVALID_ARGUMENT
 *   when the path is too long
 */
export async function connectUnix(socketPath: string, options: ConnectOptions = {}): Promise<net.Socket> {
  // Node cuts longer paths short without a word, and would then connect to another socket.
  if (Buffer.byteLength(socketPath) > 107) {
    throw new VmError('INVALID_ARGUMENT', `the socket path ${socketPath} is longer than 107 bytes`, {
      path: socketPath,
    });
  }
  const scope = callScope(`connecting to ${path.basename(socketPath)}`, {
    signal: options.signal,
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
  });
  const appearance = options.mustExist === true ? undefined : new Appearance(socketPath);
  try {
    for (let refused = 0; ;) {
      scope.throwIfEnded();
      appearance?.arm();
      const outcome = await attempt(socketPath, scope.signal);
      if (outcome instanceof net.Socket) return outcome;
      if (outcome.code === 'ENOENT' && appearance !== undefined) {
        await scope.race(appearance.next());
      } else if ((outcome.code === 'ECONNREFUSED' || outcome.code === 'EAGAIN') && refused < refusedPauses.length) {
        await scope.race(delay(refusedPauses[refused++]));
      } else {
        scope.throwIfEnded();
        throw explain(socketPath, outcome);
      }
    }
  } finally {
    appearance?.close();
    scope.release();
  }
}

async function attempt(socketPath: string, signal: AbortSignal): Promise<net.Socket | NodeJS.ErrnoException> {
  return new Promise((resolve) => {
    const socket = net.connect({ path: socketPath });
    const onAbort = (): void => void socket.destroy(new Error('aborted'));
    const settle = (outcome: net.Socket | NodeJS.ErrnoException): void => {
      signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
      resolve(outcome);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => settle(socket));
    socket.once('error', (error) => settle(error));
  });
}

/** Tells when a name appears in its folder. */
class Appearance {
  readonly #folder: string;
  readonly #name: string;
  #close: (() => void) | undefined;
  #next: Promise<void> | undefined;

  constructor(file: string) {
    this.#folder = path.dirname(file);
    this.#name = path.basename(file);
  }

  /** Begins to watch: what appears from now on settles `next`. Called before looking, so that nothing falls between. */
  arm(): void {
    this.close();
    this.#next = new Promise((resolve, reject) => {
      try {
        const watcher = watch(this.#folder, (_, name) => {
          if (name === this.#name || name === null) resolve();
        });
        watcher.on('error', (error) => reject(explain(this.#folder, error)));
        this.#close = () => watcher.close();
      } catch (error) {
        reject(explain(this.#folder, error as NodeJS.ErrnoException));
      }
    });
    this.#next.catch(() => undefined);
  }

  next(): Promise<void> {
    return this.#next ?? Promise.resolve();
  }

  close(): void {
    this.#close?.();
    this.#close = undefined;
  }
}

function explain(file: string, error: NodeJS.ErrnoException): VmError {
  const facts = { path: file, errno: error.code, cause: error };
  switch (error.code) {
    case 'ENOENT':
      return new VmError('FILE_NOT_FOUND', `${file} does not exist`, facts);
    case 'ECONNREFUSED':
      return new VmError('VMM_GONE', `nobody listens on ${file}`, facts);
    case 'EAGAIN':
      return new VmError('BUSY', `too many wait for ${file}`, facts);
    case 'EACCES':
    case 'EPERM':
      return new VmError('PERMISSION', `${file} may not be used: ${error.message}`, facts);
    default:
      return new VmError('IO', `can't connect to ${file}: ${error.message}`, facts);
  }
}
