import type { ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { bootId, identify, isIdentity, signalProcess, type ProcessIdentity } from '../../state/process-identity.ts';
import { parseExit, type ProcessExit } from './exit-status.ts';
import { type Lease, openLease } from './lease.ts';

/** Bytes of one of the keeper's lines: the longest is a line of /proc/PID/stat. */
const maxLineBytes = 8192;

/** A program under a keeper, as its owner sees it. Made by `Keeper`. It does not keep this process alive. */
export class LaunchedProcess {
  /** Resolves, and never rejects, when the program has ended and its keeper too; never while it is detached. */
  readonly exited: Promise<ProcessExit>;
  /** Resolves when the program was detached, by whichever process holds the lease: nobody will learn here how it ends. */
  readonly left: Promise<void>;

  readonly #keeper: ChildProcess;
  readonly #leasePath: string;
  /** from the keeper's word that it is there */
  #lease: Lease | undefined;
  /** Resolves when it is known whether there will be a lease. */
  readonly #leased: Promise<void>;
  /** Resolves when nothing but the program is missing; never when the keeper ends before. */
  readonly #prepared: Promise<void>;
  readonly #gone: Promise<void>;
  #identity: ProcessIdentity | undefined;
  #keeperIdentity: ProcessIdentity | undefined;
  #exit: ProcessExit | undefined;
  #by: 'lease' | 'end' | undefined;
  #detached = false;
  #begun = false;
  #line = '';
  #waiting = 0;
  #failure: Error | undefined;
  #onStarted: (() => void) | undefined;
  #onLeased!: () => void;
  #onPrepared!: () => void;
  #onExit!: (exit: ProcessExit) => void;
  #onLeft!: () => void;

  /** @param lease path of the FIFO that the keeper makes */
  constructor(keeper: ChildProcess, lease: string) {
    this.#keeper = keeper;
    this.#leasePath = lease;
    this.#leased = new Promise((resolve) => {
      this.#onLeased = resolve;
    });
    this.#prepared = new Promise((resolve) => {
      this.#onPrepared = resolve;
    });
    this.exited = new Promise((resolve) => {
      this.#onExit = resolve;
    });
    this.left = new Promise((resolve) => {
      this.#onLeft = resolve;
    });
    keeper.stdout?.setEncoding('latin1').on('data', (text: string) => this.#hear(text));
    keeper.stdout?.on('error', () => undefined);
    this.#gone = new Promise<void>((resolve) => {
      // `close` comes after the pipe's last word, and also after a failed start.
      keeper.once('close', () => resolve());
      // The lease's reader holds the pipe too: should the keeper have been killed, the reader ends with the lease.
      keeper.once('exit', () => void this.#abandon());
      keeper.once('error', (error) => {
        this.#failure = error;
        this.#onStarted?.();
        if (keeper.pid === undefined) resolve();
      });
    }).then(() => this.#keeperGone());
    if (keeper.pid !== undefined) this.#keeperIdentity = identify(keeper.pid);
    this.#ref(false);
  }

  /** The program's pid. */
  get pid(): number {
    return this.identity.pid;
  }

  /** The program's process. */
  get identity(): ProcessIdentity {
    if (this.#identity === undefined) throw new VmError('INTERNAL', 'the program was not started');
    return this.#identity;
  }

  /** The keeper's process; ended when the program is, or is detached. */
  get keeper(): ProcessIdentity | undefined {
    return this.#keeperIdentity;
  }

  /** Whether the keeper's process runs. */
  get hasKeeper(): boolean {
    return this.#keeper.exitCode === null && this.#keeper.signalCode === null;
  }

  /** Tells the keeper that its folder is there. Called by `Keeper`. */
  settle(): void {
    this.#say('made');
  }

  /** Lets the keeper start the program, for which everything is there now. Called by `Keeper`. */
  begin(): void {
    this.#begun = true;
    this.#say('go');
  }

  /** Resolves once the program's process exists. Called by `Keeper`. @throws {VmError} START_FAILED, ABORTED */
  async started(signal?: AbortSignal): Promise<void> {
    await this.#busy(async () => {
      const scope = callScope('the start', { signal });
      try {
        const told = new Promise<void>((resolve) => {
          this.#onStarted = resolve;
          if (this.#identity !== undefined || this.#failure !== undefined) resolve();
        });
        await scope.race(Promise.race([told, this.#gone]));
      } finally {
        scope.release();
      }
    });
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#identity === undefined)
      throw new VmError('START_FAILED', 'the keeper ended before it started the program');
  }

  /** Resolves when the keeper has done all that it can do before `begin`. Called by `Keeper`. @throws {VmError} START_FAILED, IO */
  async prepared(): Promise<void> {
    await this.#busy(() => Promise.race([this.#prepared, this.#gone]));
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.hasKeeper) throw new VmError('START_FAILED', 'the keeper ended before it was told of a program');
  }

  /** Why the keeper could not be started. Resolves when that is known. */
  async failure(): Promise<Error | undefined> {
    await this.#gone;
    return this.#failure;
  }

  /** Whether it was detached, by whichever process holds the lease. */
  get detached(): boolean {
    return this.#detached;
  }

  /**
   * Waits for the program's end, and keeps this process alive meanwhile. Resolves with undefined when it was detached instead.
   * @throws {VmError} TIMEOUT, ABORTED
   */
  async waitExit(options: CallOptions = {}): Promise<ProcessExit | undefined> {
    const scope = callScope('waiting for the process to end', options);
    try {
      return await this.#busy(() => scope.race(Promise.race([this.exited, this.left.then(() => undefined)])));
    } finally {
      scope.release();
    }
  }

  /** Sends a signal to the program; false when it has ended. In a launch's first milliseconds only SIGKILL is sure to arrive. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): boolean {
    return this.#exit === undefined && signalProcess(this.identity, signal);
  }

  /**
   * Lets the program live on without an owner. When it resolves no process remains beside it, and nobody will write down
   * how it ends.
   * @throws {VmError} VMM_GONE when it has ended, NOT_RUNNING when the lease was let go
   */
  async detach(): Promise<void> {
    if (this.#detached) return;
    if (this.#exit === undefined) await this.#held().order('detach');
    await this.#busy(() => this.#gone);
    if (!this.#detached || this.#exit !== undefined)
      throw new VmError('VMM_GONE', 'the process ended before it was detached', facts(this.#exit));
    await this.#lease?.release();
  }

  /**
   * Lets go of the lease. When no other process has joined it, the keeper ends the program and runs the prune command.
   * May be repeated.
   */
  async release(): Promise<void> {
    await this.#lease?.release();
  }

  /** Ends the program at once, and the keeper with it; the prune command is not run. Resolves when both are gone. */
  async end(): Promise<void> {
    await this.#busy(async () => {
      // A keeper that waits for our word ends without a program.
      if (!this.#begun) this.#say('over');
      await this.#leased;
      // The keeper does it, since it may not have told yet which process it is.
      if (this.#exit === undefined && !this.#detached) await this.#lease?.order('end').catch(() => undefined);
      await this.#gone;
    });
    await this.#lease?.release();
  }

  #hear(text: string): void {
    this.#line += text;
    for (let end = this.#line.indexOf('\n'); end >= 0; end = this.#line.indexOf('\n')) {
      const line = this.#line.slice(0, end);
      this.#line = this.#line.slice(end + 1);
      const space = line.indexOf(' ');
      this.#understand(space < 0 ? line : line.slice(0, space), space < 0 ? '' : line.slice(space + 1));
    }
    if (this.#line.length > maxLineBytes) this.#line = '';
  }

  #understand(word: string, rest: string): void {
    if (word === 'ready') {
      this.#takeLease();
    } else if (word === 'waits') {
      this.#onPrepared();
    } else if (word === 'pid') {
      const [pid, startTime] = rest.split(' ').map(Number);
      const identity = { pid, startTime, bootId: bootId() };
      if (isIdentity(identity)) this.#identity = identity;
      if (this.#failure === undefined) this.#say('known');
      this.#onStarted?.();
    } else if (word === 'exit') {
      const exit = parseExit(rest);
      this.#exit = exit === undefined || this.#by === undefined ? exit : { ...exit, by: this.#by };
    } else if (word === 'by') {
      this.#by = rest === 'lease' ? 'lease' : 'end';
    } else if (word === 'detached') {
      this.#detached = true;
    }
  }

  /** To the keeper, in a line of its own. */
  #say(word: 'made' | 'go' | 'over' | 'known'): void {
    const pipe = this.#keeper.stdout;
    // Both ways: Node gives a child's pipe as a socket, whatever its type says.
    if (pipe instanceof Socket && this.#keeper.pid !== undefined) pipe.write(`${word}\n`);
  }

  /** Joins the lease that the keeper has made. */
  #takeLease(): void {
    try {
      this.#lease = openLease(this.#leasePath);
      // Its word may come after its end.
      if (!this.hasKeeper) void this.#abandon();
    } catch (error) {
      // Nobody holds the lease when the pipe ends as well: the keeper ends the program.
      this.#failure = error as Error;
      this.#onStarted?.();
      this.#keeper.stdout?.destroy();
    }
    this.#onLeased();
  }

  /** The keeper has ended. A reader that never heard of a program prunes nothing then, as long as we are there. */
  async #abandon(): Promise<void> {
    if (this.#identity === undefined) await this.#lease?.order('end').catch(() => undefined);
    await this.#lease?.release();
  }

  #held(): Lease {
    if (this.#lease === undefined) throw new VmError('INTERNAL', 'the program was not started');
    return this.#lease;
  }

  async #keeperGone(): Promise<void> {
    this.#onLeased();
    if (this.#detached && this.#exit === undefined) {
      this.#onLeft();
      return;
    }
    if (this.#exit === undefined && this.#identity !== undefined) {
      // Someone killed the keeper: a program that nobody guards must not outlive its owner.
      signalProcess(this.#identity, 'SIGKILL');
      this.#exit = { signal: 'SIGKILL', by: 'keeper-lost' };
    }
    await this.#lease?.release();
    this.#onExit(this.#exit ?? {});
  }

  /** The event loop stays alive while someone waits, and only then. */
  async #busy<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    this.#ref(true);
    try {
      return await work();
    } finally {
      if (--this.#waiting === 0) this.#ref(false);
    }
  }

  #ref(alive: boolean): void {
    const pipe = this.#keeper.stdout;
    if (alive) this.#keeper.ref();
    else this.#keeper.unref();
    // Node gives a child's pipe as a socket, whatever its type says. One that is closed would wait, with a listener for each call,
    // to be connected anew.
    if (pipe instanceof Socket && !pipe.destroyed) alive ? pipe.ref() : pipe.unref();
  }
}

function facts(exit: ProcessExit | undefined): { exitCode?: number | undefined; signal?: string | undefined } {
  return { exitCode: exit?.code, signal: exit?.signal };
}
