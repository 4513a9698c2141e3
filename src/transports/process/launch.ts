import { spawn } from 'node:child_process';
import { close, constants } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { VmError } from '../../errors.ts';
import { tail } from '../log-tail.ts';
import { findProgram } from './find-program.ts';
import { keeperScript } from './keeper-script.ts';
import { LaunchedProcess } from './launched-process.ts';
import { makeLease } from './lease.ts';

export interface LaunchOptions {
  /** the program, a path or a name in our PATH, and its arguments */
  argv: readonly string[];
  /** the program's whole environment; nothing of ours is added. It can be read in the list of processes */
  env?: Readonly<Record<string, string>> | undefined;
  /** default `/` */
  cwd?: string | undefined;
  /** path of the FIFO that is made: `vmFiles.lease` */
  lease: string;
  /** where the keeper writes down how the program ended: `vmFiles.exit` */
  exitFile: string;
  /** files that the program's output is appended to (made with 0600); one path may serve for both */
  stdout: string;
  stderr: string;
  /** run by the keeper, in our environment, after it ended the program because no owner was left */
  prune?: readonly string[] | undefined;
  /** the shell that runs the keeper; default `/bin/sh` */
  shell?: readonly [string, ...string[]] | undefined;
  /** ends the launch; what was started is gone before the call rejects */
  signal?: AbortSignal | undefined;
}

/**
 * Starts a program that lives as long as this process, or another that joins its lease, unless it is detached: the
 * keeper ends it when its owner dies, SIGKILL included. Resolves once the program's process exists.
 * The program starts with /dev/null as stdin, no descriptor but these three, in a session of the keeper's, with
 * SIGINT and SIGQUIT ignored, as everything that a shell starts in the background (POSIX sh, 2.11). (Node closes what
 * it inherited itself only below descriptor 16; what lies above reaches the program as it reaches any other child.)
 * @throws {VmError} HYPERVISOR_NOT_FOUND, START_FAILED, HOST_MISSING, INVALID_ARGUMENT, IO, ABORTED
 */
export async function launch(options: LaunchOptions): Promise<LaunchedProcess> {
  const { argv, prune = [], signal } = options;
  const program = await findProgram(argv[0] ?? '');
  const words = [...environment(options.env ?? {}), ...guarded(program), ...argv.slice(1)];
  throwIfAborted(signal, program);
  await rm(options.exitFile, { force: true });
  const logs = await openLogs(options.stdout, options.stderr);
  try {
    const { lease, readEnd } = await makeLease(options.lease);
    let launched: LaunchedProcess | undefined;
    try {
      const [shell, ...shellWords] = options.shell ?? ['/bin/sh'];
      const keeperWords = [keeperScript, keeperName, options.exitFile, `${prune.length}`, ...prune, ...words];
      const keeper = spawn(shell, [...shellWords, '-c', ...keeperWords], {
        cwd: options.cwd ?? '/',
        // A session of its own: no terminal's signals, and no hang-up when the owner's terminal closes.
        detached: true,
        stdio: ['ignore', 'pipe', logs.stderr.fd, logs.stdout.fd, readEnd],
      });
      launched = new LaunchedProcess(keeper, lease);
      await launched.started(signal);
      return launched;
    } catch (error) {
      await launched?.end();
      await lease.release();
      throwIfAborted(signal, program);
      throw await explain(error, options, program);
    } finally {
      await closeFile(readEnd);
    }
  } finally {
    await logs.stdout.close();
    await logs.stderr.close();
  }
}

/** How the keeper shows in a list of processes. */
const keeperName = 'polyvisor-keeper';
const closeFile = promisify(close);

/** The program's environment exactly, whatever ours and the keeper's are. */
function environment(env: Readonly<Record<string, string>>): string[] {
  const entries = Object.entries(env);
  for (const [name] of entries) {
    if (!/^[A-Za-z_][A-Za-z0-9_.]*$/.test(name)) {
      throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(name)} can't be the name of an environment variable`);
    }
  }
  return ['env', '-i', ...entries.map(([name, value]) => `${name}=${value}`)];
}

/** `env` takes a program whose path holds `=` for a variable; a shell in between does not. */
function guarded(program: string): string[] {
  return program.includes('=') ? ['/bin/sh', '-c', 'exec "$@"', 'sh', program] : [program];
}

async function openLogs(stdout: string, stderr: string): Promise<{ stdout: FileHandle; stderr: FileHandle }> {
  const first = await openLog(stdout);
  try {
    return { stdout: first, stderr: await openLog(stderr) };
  } catch (error) {
    await first.close();
    throw error;
  }
}

async function openLog(file: string): Promise<FileHandle> {
  try {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    return await open(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
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
