import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { tail } from '../log-tail.ts';
import { findProgram } from './find-program.ts';
import { openAlive } from './alive.ts';
import { makeFifos } from './fifo.ts';
import { keeperScripts } from './keeper-script.ts';
import { LaunchedProcess } from './launched-process.ts';
import { openLease } from './lease.ts';

export interface LaunchOptions {
  /** the program, a path or a name in our PATH, and its arguments */
  argv: readonly string[];
  /** the program's whole environment; nothing of ours is added. It can be read in the list of processes */
  env?: Readonly<Record<string, string>> | undefined;
  /** default `/` */
  cwd?: string | undefined;
  /** path of the FIFO that is made, in the folder of `exitFile`: `vmFiles.lease` */
  lease: string;
  /** path of the FIFO that is made, whose write end program and keeper hold as long as they live: `vmFiles.alive` */
  alive: string;
  /** both FIFOs, when they are being made already (makeFifos) */
  fifos?: Promise<void> | undefined;
  /** where the keeper writes down how the program ended: `vmFiles.exit` */
  exitFile: string;
  /** files that the program's output is appended to (made with 0600); one path may serve for both */
  stdout: string;
  stderr: string;
  /** run by the keeper, in our environment, after it ended the program because no owner was left */
  prune?: readonly string[] | undefined;
  /** commands that run what follows them: the keeper's second part, which forks the program, and the program itself */
  through?: { keeper: readonly string[]; program: readonly string[] } | undefined;
  /** most bytes that a file may grow to by the program's writing: a write beyond fails with EFBIG. No limit by default */
  maxFileBytes?: number | undefined;
  /** the shell that runs the keeper; default `/bin/sh` */
  shell?: readonly [string, ...string[]] | undefined;
  /** ends the launch; what was started is gone before the call rejects */
  signal?: AbortSignal | undefined;
}

/**
 * Starts a program that lives as long as this process, or another that joins its lease, unless it is detached: the
 * keeper ends it when its owner dies, SIGKILL included. Resolves once the program's process exists.
 * The program starts with /dev/null as stdin, no descriptor but these three and `alive`, in a session of the keeper's, with
 * SIGINT and SIGQUIT ignored, as everything that a shell starts in the background (POSIX sh, 2.11). (Node closes what
 * it inherited itself only below descriptor 16; what lies above reaches the program as it reaches any other child.)
 * @throws {VmError} HYPERVISOR_NOT_FOUND, START_FAILED, HOST_MISSING, INVALID_ARGUMENT, IO, ABORTED
 */
export async function launch(options: LaunchOptions): Promise<LaunchedProcess> {
  const { argv, cwd = '/', signal } = options;
  const program = await findProgram(argv[0] ?? '');
  const words = programWords(options, program, await findProgram('env'));
  throwIfAborted(signal, program);
  try {
    accessSync(cwd, constants.X_OK);
  } catch (error) {
    throw await explain(error, options, program);
  }
  rmSync(options.exitFile, { force: true });
  const logs = openLogs(options.stdout, options.stderr);
  try {
    await (options.fifos ?? makeFifos(options.lease, options.alive));
    const { lease, readEnd } = openLease(options.lease);
    const ends = [readEnd];
    let launched: LaunchedProcess | undefined;
    try {
      const alive = openAlive(options.alive);
      ends.push(alive.writeEnd, alive.readEnd);
      const [shell, ...shellWords] = options.shell ?? ['/bin/sh'];
      const keeper = spawn(shell, [...shellWords, ...keeperWords(options, [shell, ...shellWords], words)], {
        cwd: path.dirname(options.exitFile),
        // A session of its own: no terminal's signals, and no hang-up when the owner's terminal closes.
        detached: true,
        stdio: [
          ...(['ignore', 'pipe', logs.stderr, logs.stdout, readEnd] as const),
          ...[lease.descriptor, alive.writeEnd, alive.readEnd],
        ],
      });
      launched = new LaunchedProcess(keeper, lease);
      // Held by us, the write end of `alive` would say that the program lives.
      for (const end of ends.splice(0)) closeSync(end);
      await launched.started(signal);
      return launched;
    } catch (error) {
      for (const end of ends) closeSync(end);
      await launched?.end();
      await lease.release();
      throwIfAborted(signal, program);
      throw await explain(error, options, program);
    }
  } finally {
    closeSync(logs.stdout);
    closeSync(logs.stderr);
  }
}

/** How a keeper shows in a list of processes. */
export const keeperName = 'polyvisor-keeper';

/** The program with what it runs through. */
function programWords({ argv, env, through }: LaunchOptions, program: string, envTool: string): string[] {
  const words = through?.program ?? [];
  // A command in front of the program is what `env` runs, whatever the program's name.
  return [
    ...environment(envTool, env ?? {}),
    ...words,
    ...(words.length > 0 ? [program] : guarded(program)),
    ...argv.slice(1),
  ];
}

/** The arguments of the keeper's shell. */
function keeperWords(options: LaunchOptions, shell: readonly string[], program: readonly string[]): string[] {
  const { prune = [], through, cwd = '/', lease, maxFileBytes = 0 } = options;
  const exitFile = path.basename(options.exitFile);
  const told = [path.basename(lease), exitFile, blocks(maxFileBytes), cwd];
  const second = [...shell, '-c', keeperScripts.second, keeperName, ...told];
  const first = ['-c', keeperScripts.first, keeperName, exitFile, `${prune.length}`];
  return [...first, ...prune, ...(through?.keeper ?? []), ...second, ...program];
}

/** In the unit of `ulimit -f` (POSIX: 512 bytes); never more than the hard limit, which the shell would refuse. */
function blocks(bytes: number): string {
  if (bytes === 0) return '0';
  const hard = /^Max file size\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
  return `${Math.floor(Math.min(bytes, Number(hard ?? Infinity)) / 512)}`;
}

/** The program's environment exactly, whatever ours and the keeper's are. */
function environment(envTool: string, env: Readonly<Record<string, string>>): string[] {
  const entries = Object.entries(env);
  for (const [name] of entries) {
    if (!/^[A-Za-z_][A-Za-z0-9_.]*$/.test(name)) {
      throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(name)} can't be the name of an environment variable`);
    }
  }
  return [envTool, '-i', ...entries.map(([name, value]) => `${name}=${value}`)];
}

/** `env` takes a program whose path holds `=` for a variable; a shell in between does not. */
function guarded(program: string): string[] {
  return program.includes('=') ? ['/bin/sh', '-c', 'exec "$@"', 'sh', program] : [program];
}

function openLogs(stdout: string, stderr: string): { stdout: number; stderr: number } {
  const first = openLog(stdout);
  try {
    return { stdout: first, stderr: openLog(stderr) };
  } catch (error) {
    closeSync(first);
    throw error;
  }
}

function openLog(file: string): number {
  try {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    return openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't open the log ${file}: ${message}`, { path: file, errno: code, cause: error });
  }
}

async function explain(error: unknown, options: LaunchOptions, program: string): Promise<VmError> {
  if (error instanceof VmError) return error.with({ log: (await tail(options.stderr)) || undefined });
  const { code, message } = error as NodeJS.ErrnoException;
  const invalid = code === 'ERR_INVALID_ARG_VALUE' || code === 'E2BIG';
  return new VmError(invalid ? 'INVALID_ARGUMENT' : 'START_FAILED', `can't start ${program}: ${message}`, {
    errno: code,
    cause: error,
  });
}

function throwIfAborted(signal: AbortSignal | undefined, program: string): void {
  if (signal?.aborted !== true) return;
  const { reason } = signal;
  throw reason instanceof VmError
    ? reason
    : new VmError('ABORTED', `the start of ${program} was aborted`, { cause: reason });
}
