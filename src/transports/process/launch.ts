import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { tail } from '../log-tail.ts';
import { findProgram } from './find-program.ts';
import { mkfifoTool } from './fifo.ts';
import { keeperScripts } from './keeper-script.ts';
import { LaunchedProcess } from './launched-process.ts';

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
  /** where the keeper writes down how the program ended: `vmFiles.exit` */
  exitFile: string;
  /** files that the program's output is appended to (made with 0600); one path may serve for both */
  stdout: string;
  stderr: string;
  /** run by the keeper, in our environment, after it ended the program because no owner was left */
  prune?: readonly string[] | undefined;
  /** what the program is started through */
  through?: LaunchThrough | undefined;
  /** most bytes that a file may grow to by the program's writing: a write beyond fails with EFBIG. No limit by default */
  maxFileBytes?: number | undefined;
  /** makes what the program needs, while its keeper begins: the program is started when it has returned, and not when it throws */
  meanwhile?: (() => void) | undefined;
  /** the shell that runs the keeper; default `/bin/sh` */
  shell?: readonly [string, ...string[]] | undefined;
  /** ends the launch; what was started is gone before the call rejects */
  signal?: AbortSignal | undefined;
}

/** What a program is started through: commands that run what follows them, and what is done in between. */
export interface LaunchThrough {
  /** in front of the keeper's second part, which forks the program */
  keeper: readonly string[];
  /** constant shell text that the forked child runs, with its words, which it shifts away */
  preparation?: { script: string; words: readonly string[] } | undefined;
  /** in front of the program itself */
  program: readonly string[];
}

/**
 * Starts a program that lives as long as this process, or another that joins its lease, unless it is detached: the
 * keeper ends it when its owner dies, SIGKILL included. Resolves once the program's process exists.
 * The program starts with /dev/null as stdin, no descriptor but these three and `alive`, in a session of the keeper's, with
 * SIGINT and SIGQUIT ignored, as everything that a shell starts in the background (POSIX sh, 2.11). (Node closes what
 * it inherited itself only below descriptor 16; what lies above reaches the program as it reaches any other child.)
 * @throws {VmError} HYPERVISOR_NOT_FOUND, START_FAILED, HOST_MISSING, INVALID_ARGUMENT, IO, ABORTED, and what `meanwhile` throws
 */
export async function launch(options: LaunchOptions): Promise<LaunchedProcess> {
  const { argv, cwd = '/', signal } = options;
  const program = await findProgram(argv[0] ?? '');
  const words = programWords(options, program, await findProgram('env'));
  const mkfifo = await mkfifoTool();
  throwIfAborted(signal, program);
  try {
    accessSync(cwd, constants.X_OK);
  } catch (error) {
    throw await explain(error, options, program);
  }
  // Those of a program that has ended: its FIFOs are not this one's.
  for (const old of [options.exitFile, options.lease, options.alive]) rmSync(old, { force: true });
  const logs = openLogs(options.stdout, options.stderr);
  try {
    let launched: LaunchedProcess | undefined;
    try {
      const [shell, ...shellWords] = options.shell ?? ['/bin/sh'];
      const keeper = spawn(shell, [...shellWords, ...keeperWords(options, [shell, ...shellWords], mkfifo, words)], {
        cwd: path.dirname(options.exitFile),
        // A session of its own: no terminal's signals, and no hang-up when the owner's terminal closes.
        detached: true,
        stdio: ['ignore', 'pipe', logs.stderr, logs.stdout],
      });
      launched = new LaunchedProcess(keeper, options.lease);
      options.meanwhile?.();
      launched.begin();
      await launched.started(signal);
      return launched;
    } catch (error) {
      await launched?.end();
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
function keeperWords(
  options: LaunchOptions,
  shell: readonly string[],
  mkfifo: string,
  program: readonly string[],
): string[] {
  const { prune = [], through, cwd = '/', maxFileBytes = 0 } = options;
  const [lease, alive, exitFile] = [options.lease, options.alive, options.exitFile].map((file) => path.basename(file));
  const { script = '', words = [] } = through?.preparation ?? {};
  const first = [keeperName, mkfifo, lease, alive, exitFile, `${prune.length}`, ...prune] as string[];
  const second = [lease, exitFile, blocks(maxFileBytes), cwd, ...words, ...program] as string[];
  if (through === undefined || through.keeper.length === 0)
    return ['-c', keeperScripts.whole(script), ...first, ...second];
  return [
    ...['-c', keeperScripts.first, ...first, ...through.keeper],
    ...[...shell, '-c', keeperScripts.second(script), keeperName, ...second],
  ];
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
