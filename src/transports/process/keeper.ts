import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, existsSync, openSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { tail } from '../log-tail.ts';
import { mkfifoTool } from './fifo.ts';
import { findProgram } from './find-program.ts';
import { keeperScripts } from './keeper-script.ts';
import { LaunchedProcess } from './launched-process.ts';
import { shellEnvironment } from './shell-environment.ts';
import { type ProgramStart, startScript } from './start-script.ts';

/** How a keeper shows in a list of processes. */
export const keeperName = 'polyvisor-keeper';

/** A keeper, and its files: all in one folder, which need not be there yet. */
export interface KeeperOptions {
  /** path of the FIFO that is made: `vmFiles.lease` */
  lease: string;
  /** path of the FIFO that is made, whose write end program and keeper hold as long as they live: `vmFiles.alive` */
  alive: string;
  /** where the keeper writes down how the program ended: `vmFiles.exit` */
  exitFile: string;
  /** where it reads how the program is started; goes when it has: `vmFiles.start` */
  startFile: string;
  /** files that the program's output is appended to (made with 0600); one path may serve for both */
  stdout: string;
  stderr: string;
  /** run by the keeper, in our environment, when no owner is left, after it ended the program if there was one */
  prune?: readonly string[] | undefined;
  /** command that the keeper's second part, which forks the program, is run through; it ends by running what follows it */
  keeperThrough?: readonly string[] | undefined;
  /** the shell that runs the keeper; default `/bin/sh` */
  shell?: readonly [string, ...string[]] | undefined;
}

/** A program, and how it is started. */
export interface ProgramOptions extends ProgramStart {
  /** the program, a path or a name in our PATH, and its arguments. They can be read in the list of processes, as its environment can */
  argv: readonly string[];
  /** makes what the program needs: the program is started when it has returned, and not when it throws */
  meanwhile?: (() => void) | undefined;
  /** ends the launch; what was started is gone before the call rejects */
  signal?: AbortSignal | undefined;
}

/**
 * The keeper of a program that is still to be started. Until then it watches over this process: should we be killed, it runs the
 * prune command. It begins early, since a shell takes as long to begin as we do to decide what is to be started.
 */
export class Keeper {
  #options: KeeperOptions;
  readonly #process: LaunchedProcess;
  /** names of its variables */
  readonly #environment: readonly string[];
  #settled = false;
  #spent = false;

  private constructor(options: KeeperOptions, process: LaunchedProcess, environment: readonly string[]) {
    this.#options = options;
    this.#process = process;
    this.#environment = environment;
  }

  /** @throws {VmError} START_FAILED, HOST_MISSING, INVALID_ARGUMENT */
  static async begin(options: KeeperOptions): Promise<Keeper> {
    const mkfifo = await mkfifoTool();
    const env = shellEnvironment();
    const { lease, alive, exitFile, startFile, stdout, stderr, prune = [], keeperThrough = [] } = options;
    const [shell, ...shellWords] = options.shell ?? ['/bin/sh'];
    const files = [lease, alive, exitFile].map((file) => path.basename(file));
    const second = [path.basename(lease), path.basename(exitFile), path.basename(startFile)];
    const words = [
      ...[...shellWords, '-c', keeperScripts.first, keeperName, mkfifo, path.dirname(exitFile), ...files],
      ...[stdout, stderr, `${prune.length}`, ...prune, ...keeperThrough],
      ...[shell, ...shellWords, '-c', keeperScripts.second, keeperName, ...second],
    ];
    let child: ReturnType<typeof spawn>;
    try {
      child = spawn(shell, words, {
        cwd: '/',
        env,
        // A session of its own: no terminal's signals, and no hang-up when the owner's terminal closes.
        detached: true,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
    } catch (error) {
      throw notStarted(error, shell);
    }
    const process = new LaunchedProcess(child, lease);
    if (child.pid === undefined) throw notStarted(await process.failure(), shell);
    return new Keeper(options, process, Object.keys(env));
  }

  /** Whether it still waits for its program: nobody has killed it. */
  get waits(): boolean {
    return !this.#spent && this.#process.hasKeeper;
  }

  /** Whether it knows that its folder is there, and works in it. */
  get isSettled(): boolean {
    return this.#settled;
  }

  /** Whether its second part is run through this command. */
  isThrough(command: readonly string[]): boolean {
    const { keeperThrough = [] } = this.#options;
    return keeperThrough.length === command.length && keeperThrough.every((one, at) => one === command[at]);
  }

  /** Tells it that its folder is there: it makes its FIFOs. May be repeated. @throws {VmError} IO */
  settle(): void {
    if (this.#settled) return;
    const { exitFile, startFile, lease, alive, stdout, stderr } = this.#options;
    // Those of a program that has ended: its FIFOs are not this one's.
    for (const old of [exitFile, startFile, lease, alive]) if (existsSync(old)) rmSync(old);
    for (const log of new Set([stdout, stderr])) makeLog(log);
    this.#settled = true;
    this.#process.settle();
  }

  /** Resolves when a settled one has prepared all it can: its folder may get another name from then on. @throws {VmError} START_FAILED, IO */
  async prepared(): Promise<void> {
    await this.#process.prepared();
  }

  /** Says what the folder is named now. */
  moved(folder: string): void {
    const there = (file: string): string => path.join(folder, path.basename(file));
    const { lease, alive, exitFile, startFile, stdout, stderr } = this.#options;
    const files = { lease: there(lease), alive: there(alive), exitFile: there(exitFile), startFile: there(startFile) };
    this.#options = { ...this.#options, ...files, stdout: there(stdout), stderr: there(stderr) };
  }

  /**
   * Starts the program, which lives as long as this process, or another that joins its lease, unless it is detached: the
   * keeper ends it when its owner dies, SIGKILL included. Resolves once the program's process exists. When it rejects, the keeper is gone.
   * The program starts with /dev/null as stdin, no descriptor but these three and `alive`, in a session of the keeper's, with
   * SIGINT and SIGQUIT ignored, as everything that a shell starts in the background (POSIX sh, 2.11). (Node closes what
   * it inherited itself only below descriptor 16; what lies above reaches the program as it reaches any other child.)
   * @throws {VmError} HYPERVISOR_NOT_FOUND, START_FAILED, INVALID_ARGUMENT, IO, ABORTED, and what `meanwhile` throws
   */
  async launch(options: ProgramOptions): Promise<LaunchedProcess> {
    if (this.#spent) throw new VmError('INTERNAL', 'a keeper keeps one program');
    this.#spent = true;
    const { argv, cwd = '/', signal } = options;
    const { startFile, stderr } = this.#options;
    let program = argv[0] ?? '';
    try {
      program = await findProgram(program);
      throwIfAborted(signal, program);
      const script = startScript({ ...options, argv: [program, ...argv.slice(1)] }, this.#environment);
      accessSync(cwd, constants.X_OK);
      this.settle();
      options.meanwhile?.();
      writeFileSync(startFile, script, { mode: 0o600 });
      this.#process.begin();
      await this.#process.started(signal);
      return this.#process;
    } catch (error) {
      await this.#process.end();
      throwIfAborted(signal, program);
      throw error instanceof VmError
        ? error.with({ log: (await tail(stderr)) || undefined })
        : notStarted(error, program);
    } finally {
      rmSync(startFile, { force: true });
    }
  }

  /** Ends one that still waits: nothing is started, nothing pruned. Does nothing to one that has a program. May be repeated. */
  async end(): Promise<void> {
    if (this.#spent) return;
    this.#spent = true;
    await this.#process.end();
  }
}

function makeLog(file: string): void {
  try {
    const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = constants;
    closeSync(openSync(file, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't open the log ${file}: ${message}`, { path: file, errno: code, cause: error });
  }
}

function notStarted(error: unknown, program: string): VmError {
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
