import { createHash, randomBytes } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { vmFiles } from './paths.ts';

/*
 * Locks that die with their holder: an abstract unix socket, which the kernel frees when the process that listens on it
 * ends, however it ends. A waiter connects to the holder and is told by the end of the connection: nothing is polled.
 * They hold between processes of one network namespace, to which abstract names belong (unix(7)).
 */

/** A lock that this process holds, until it is released or the process ends. */
export interface HeldLock extends AsyncDisposable {
  /** Frees the lock and wakes those who wait for it. May be repeated. */
  release(): Promise<void>;
}

/**
 * Takes the lock of that name in a VM's folder. Waits for its holder; not fair, so a time-out is advised.
 * It is not re-entrant: taking it twice in one process waits like anyone else. It does not keep the process alive.
 * @throws {VmError} BUSY when `timeoutMs` is over, ABORTED, IO
 */
export async function lock(folder: string, name: string, options: CallOptions = {}): Promise<HeldLock> {
  return (await lockAny(folder, [name], options)).held;
}

/**
 * Takes whichever of these locks is free, the first ones first; waits for any of their holders when none is.
 * @throws {VmError} as `lock` does
 */
export async function lockAny(
  folder: string,
  names: readonly string[],
  options: CallOptions = {},
): Promise<{ name: string; held: HeldLock }> {
  const what = names.length === 1 ? `the lock ${names[0]}` : `one of ${names.length} locks`;
  const scope = callScope(`waiting for ${what}`, options);
  let taken = false;
  try {
    // Found once: the folder may get another name while we wait, and its locks stay the same.
    const token = tokenOf(folder);
    const locks = names.map((name) => ({ name, address: addressOf(token, name) }));
    for (;;) {
      for (const { name, address } of locks) {
        scope.throwIfEnded();
        const held = await listenOn(address, folder, name);
        if (held !== undefined) return { name, held };
      }
      taken = true;
      await untilAnyReleased(
        locks.map(({ address }) => address),
        scope.signal,
      );
    }
  } catch (error) {
    // A call whose time was over before it came here found nothing taken.
    if (taken && error instanceof VmError && error.code === 'TIMEOUT') {
      const message =
        names.length === 1 ? `${what} of ${path.basename(folder)} stayed taken` : 'all of them stayed taken';
      throw new VmError('BUSY', message, { path: folder, cause: error });
    }
    throw error;
  } finally {
    scope.release();
  }
}

/**
 * Takes the lock, or resolves with undefined when another holds it.
 * @throws {VmError} IO
 */
export async function tryLock(folder: string, name: string): Promise<HeldLock | undefined> {
  return listenOn(addressOf(tokenOf(folder), name), folder, name);
}

async function listenOn(address: string, folder: string, name: string): Promise<HeldLock | undefined> {
  const server = net.createServer();
  const waiters = new Set<net.Socket>();
  server.on('connection', (waiter) => {
    waiters.add(waiter);
    // Read, so that a waiter that gives up is noticed and its descriptor freed.
    waiter.unref().resume();
    waiter.on('error', () => waiter.destroy());
    waiter.on('close', () => waiters.delete(waiter));
  });
  const listening = await new Promise<boolean>((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else
        reject(
          new VmError('IO', `can't lock ${name} of ${folder}: ${error.message}`, {
            path: folder,
            errno: error.code,
            cause: error,
          }),
        );
    });
    // Exclusive: a cluster's workers would share the socket, and with it the lock.
    server.listen({ path: address, exclusive: true }, () => resolve(true));
  });
  if (!listening) return undefined;
  server.unref();
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => {
    released ??= new Promise((resolve) => {
      // The name first, then the waiters: whoever wakes finds it free.
      server.close(() => resolve());
      for (const waiter of waiters) waiter.destroy();
    });
    return released;
  };
  return { release, [Symbol.asyncDispose]: release };
}

async function untilAnyReleased(addresses: readonly string[], signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  const either = AbortSignal.any([signal, over.signal]);
  const waits = addresses.map((address) => untilReleased(address, either));
  await Promise.race(waits);
  over.abort();
  await Promise.all(waits);
}

async function untilReleased(address: string, signal: AbortSignal): Promise<void> {
  const socket = net.connect({ path: address });
  const onAbort = (): void => void socket.destroy();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    // ECONNREFUSED (freed before we came) and ECONNRESET (freed before we were accepted) mean the same as the end.
    await new Promise<void>((resolve) => {
      socket.on('error', () => undefined).on('close', () => resolve());
      socket.resume();
    });
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/**
 * The random token in the name is readable by the VM's owner only, so that other users can't take locks beforehand.
 * All 108 bytes are used: Node 20 pads shorter abstract names with zeros, later versions don't, and both must meet.
 */
function addressOf(token: string, name: string): string {
  const digest = createHash('sha256').update(token).update('\0').update(name).digest('hex');
  return `\0polyvisor/${digest.slice(0, 32)}/${name}`.slice(0, 108).padEnd(108, '.');
}

function tokenOf(folder: string): string {
  const file = vmFiles.lockToken(folder);
  try {
    const token = readToken(file);
    if (token !== undefined) return token;
    // Written apart and linked into place: of several who come first all use the one token that got there.
    const fresh = path.join(folder, `.lock-token.${randomBytes(6).toString('hex')}`);
    try {
      writeFileSync(fresh, randomBytes(16).toString('hex'), { mode: 0o600, flag: 'wx' });
      linkToken(fresh, file);
    } finally {
      rmSync(fresh, { force: true });
    }
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new VmError('NOT_FOUND', `${folder} is gone`, { path: folder, cause: error });
    throw new VmError('IO', `can't read ${file}: ${message}`, { path: file, errno: code, cause: error });
  }
}

function readToken(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function linkToken(fresh: string, file: string): void {
  try {
    linkSync(fresh, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
