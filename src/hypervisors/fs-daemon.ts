import { execFile } from 'node:child_process';
import { watch } from 'node:fs';
import { access, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';
import { tail } from '../transports/log-tail.ts';
import { launch } from '../transports/process/launch.ts';
import type { LaunchedProcess } from '../transports/process/launched-process.ts';
import type { FsDevice } from './device.ts';
import { giveToVmm } from './give-to-vmm.ts';
import type { VmContext } from './hypervisor.ts';

/** Milliseconds until the daemon must listen. */
const listenMs = 10_000;

/** Where a daemon is started: a VM's context, and the socket that its VMM connects to. */
export type FsDaemonScope = Pick<VmContext, 'config' | 'stateFolder'> & { socket: string };

/**
 * virtiofsd: the process that serves a shared folder to one VMM. It takes one connection and ends when that one ends, so it lives exactly
 * as long as the VMM; until then it is under a keeper of its own. It confines itself to the folder (its sandbox `namespace`).
 */
export class FsDaemon {
  readonly #process: LaunchedProcess;
  readonly #scope: FsDaemonScope;
  readonly #id: string;

  private constructor(process: LaunchedProcess, id: string, scope: FsDaemonScope) {
    this.#process = process;
    this.#id = id;
    this.#scope = scope;
  }

  /**
   * Starts it; resolves when it listens.
   * @throws {VmError} START_FAILED in the daemon's words, INVALID_CONFIG without `virtioFsDaemon`, HOST_MISSING, TIMEOUT, ABORTED
   */
  static async start(device: FsDevice, scope: FsDaemonScope, options: CallOptions): Promise<FsDaemon> {
    const { config, stateFolder, socket } = scope;
    const program = config.virtioFsDaemon;
    if (program === undefined)
      throw new VmError('INVALID_CONFIG', 'a shared folder needs virtioFsDaemon', { field: 'virtioFsDaemon' });
    const dialect = await dialectOf(program);
    const words = daemonWords(device, scope, dialect);
    const before = device.readOnly && dialect === 'c' ? readOnlyView(device.path) : [];
    const file = (what: 'lease' | 'start' | 'exit' | 'log'): string => vmFiles.daemon(stateFolder, device.id, what);
    const limits = callScope('start of virtiofsd', {
      signal: options.signal,
      timeoutMs: options.timeoutMs ?? listenMs,
    });
    try {
      await rm(socket, { force: true });
      const listening = listens(socket, limits.signal);
      listening.catch(() => undefined);
      const launched = await launch({
        argv: [...before, program, ...words, ...config.virtioFsExtraArgs],
        lease: file('lease'),
        alive: `${file('lease')}.alive`,
        exitFile: file('exit'),
        startFile: file('start'),
        stdout: file('log'),
        stderr: file('log'),
        signal: limits.signal,
      });
      const daemon = new FsDaemon(launched, device.id, scope);
      try {
        const ended = launched.exited.then(async () => {
          throw new VmError(
            'START_FAILED',
            `virtiofsd ended before it listened: ${await tail(file('log'), { lines: 3 })}`,
            {
              path: program,
              advice: 'See whether this virtiofsd knows these options, and whether it may make namespaces (root).',
            },
          );
        });
        await Promise.race([listening, ended]);
        giveToVmm(socket);
        return daemon;
      } catch (error) {
        await daemon.end();
        throw error;
      }
    } catch (error) {
      limits.throwIfEnded();
      throw error;
    } finally {
      limits.release();
    }
  }

  get identity(): ProcessIdentity {
    return this.#process.identity;
  }

  /** The VMM has connected: the daemon ends with it, and needs no keeper. */
  async letGo(): Promise<void> {
    await this.#process.detach();
    await this.#removeFifos();
  }

  /** Ends it at once. */
  async end(): Promise<void> {
    await this.#process.end();
    await this.#removeFifos();
    await FsDaemon.clear(this.#id, this.#scope);
  }

  /** Removes what a daemon leaves that has ended. */
  static async clear(
    id: string,
    { stateFolder, socket }: Pick<FsDaemonScope, 'stateFolder' | 'socket'>,
  ): Promise<void> {
    const left = [vmFiles.daemon(stateFolder, id, 'log'), vmFiles.daemon(stateFolder, id, 'exit'), socket];
    for (const file of left) await rm(file, { force: true });
  }

  async #removeFifos(): Promise<void> {
    const lease = vmFiles.daemon(this.#scope.stateFolder, this.#id, 'lease');
    for (const fifo of [lease, `${lease}.alive`]) await rm(fifo, { force: true });
  }
}

/** In a mount namespace of its own, in which the folder can't be written. */
const readOnlyScript = 'mount --bind -- "$1" "$1" && mount -o remount,bind,ro -- "$1" && shift && exec "$@"';

/** What runs a program that can't be told to share for reading only, so that it can do no more. The script never changes. */
function readOnlyView(folder: string): string[] {
  return ['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', readOnlyScript, 'sh', folder];
}

/** virtiofsd in C came with QEMU until 8.0; the one in Rust is another program, with other options. */
type Dialect = 'c' | 'rust';

/** Dialects by path of the program. */
const known = new Map<string, Dialect>();

async function dialectOf(program: string): Promise<Dialect> {
  const before = known.get(program);
  if (before !== undefined) return before;
  try {
    const { stdout } = await promisify(execFile)(program, ['--version'], { timeout: 10_000 });
    const dialect = /FUSE kernel interface/i.test(stdout) ? 'c' : 'rust';
    known.set(program, dialect);
    return dialect;
  } catch (cause) {
    throw new VmError('HOST_MISSING', `${program} does not run: ${(cause as Error).message}`, { path: program, cause });
  }
}

/** @throws {VmError} UNSUPPORTED for what this virtiofsd has not */
function daemonWords(device: FsDevice, { config, socket }: FsDaemonScope, dialect: Dialect): string[] {
  const cache = device.cache ?? config.virtioFsCache ?? 'auto';
  if (dialect === 'rust') {
    const words = ['--socket-path', socket, '--shared-dir', device.path, '--cache', cache === 'none' ? 'never' : cache];
    return [
      ...words,
      '--sandbox',
      process.geteuid?.() === 0 ? 'namespace' : 'none',
      ...(device.readOnly ? ['--readonly'] : []),
    ];
  }
  const refuse = (field: string, reason: string): VmError =>
    new VmError('UNSUPPORTED', `virtiofsd of QEMU ${reason}`, { field, advice: 'Use the virtiofsd in Rust.' });
  if (device.readOnly && process.geteuid?.() !== 0)
    throw refuse('readOnly', 'cannot share a folder for reading only, unless it is started by root');
  if (cache === 'metadata') throw refuse('cache', 'has no cache mode metadata');
  if (device.path.includes(',')) throw refuse('path', 'cannot share a path with a comma');
  const mode = cache === 'never' ? 'none' : cache;
  return [
    `--socket-path=${socket}`,
    '-f',
    '-o',
    `source=${device.path}`,
    '-o',
    `cache=${mode}`,
    '-o',
    'sandbox=namespace',
  ];
}

/** Resolves when somebody listens on the socket: to connect would be to take its only connection. */
async function listens(socket: string, signal: AbortSignal): Promise<void> {
  const changes = watch(path.dirname(socket), { persistent: true });
  try {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => void access(socket).then(resolve, () => undefined);
      changes.on('change', look).on('error', reject);
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      look();
    });
  } finally {
    changes.close();
  }
  // It is there from bind on, and takes connections from listen on, of which nothing tells.
  while (!(await isListening(socket))) await sleep(1, undefined, { signal });
}

/** __SO_ACCEPTCON among the flags in /proc/net/unix. */
const acceptsConnections = 0x10000;

async function isListening(socket: string): Promise<boolean> {
  const lines = (await readFile('/proc/net/unix', 'latin1')).split('\n');
  const name = Buffer.from(socket).toString('latin1');
  const line = lines.find((text) => text.endsWith(` ${name}`));
  return (Number.parseInt(line?.split(/\s+/)[3] ?? '0', 16) & acceptsConnections) !== 0;
}
