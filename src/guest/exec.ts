import { pipeline, type Readable, type Writable } from 'node:stream';
import { callScope } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { Exec, ExecChunk, ExecExit, ExecResult } from './agent.ts';
import { Collector } from './collector.ts';
import { terminalSize, type ExecRequest } from './exec-request.ts';
import { execResult, nonzeroExit, withResult } from './exec-result.ts';
import type { Output } from './output.ts';
import { outputStream } from './output-stream.ts';
import type { GuestProcess } from './process.ts';
import { signalNumber } from './signals.ts';

/** How long a cancelled command is waited for, in milliseconds. */
const CANCEL_MS = 5000;

type StreamName = ExecChunk['stream'];

/** The handle of a command, over whichever agent runs it. */
export class ExecHandle implements Exec {
  readonly pid: Promise<number>;
  readonly stdin: Writable | undefined;
  readonly exited: Promise<ExecExit>;
  readonly detached: boolean;
  readonly #process: GuestProcess;
  readonly #request: ExecRequest;
  readonly #startedAt: number = performance.now();
  readonly #streams = new Map<StreamName, Readable>();
  readonly #taken = new Set<StreamName>();
  #failure: VmError | undefined;
  #cancelTimer: NodeJS.Timeout | undefined;
  #durationMs = 0;
  #result: Promise<ExecResult> | undefined;

  constructor(process: GuestProcess, request: ExecRequest) {
    this.#process = process;
    this.#request = request;
    this.detached = request.detach;
    this.pid = process.started;
    this.stdin = request.stdin === 'pipe' ? process.stdin : undefined;
    this.exited = this.#watch();
    this.exited.catch(() => {});
    this.#feed();
  }

  get stdout(): Readable {
    return this.#stream('stdout');
  }

  get stderr(): Readable {
    return this.#stream('stderr');
  }

  // oxlint-disable-next-line unicorn/no-thenable -- that a command can be awaited is what is wanted
  then<A = ExecResult, B = never>(
    onResult?: ((result: ExecResult) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#outcome().then(onResult, onError);
  }

  [Symbol.asyncIterator](): AsyncIterator<ExecChunk, void, undefined> {
    this.#take('stdout');
    this.#take('stderr');
    return this.#iterate();
  }

  async kill(signal: NodeJS.Signals | number = 'SIGTERM', options: { tree?: boolean } = {}): Promise<void> {
    const number = signalNumber(signal);
    await this.#process.started;
    if (!this.#process.ended) this.#process.signal(number, options.tree === true);
  }

  async cancel(): Promise<void> {
    this.#cancel(
      new VmError('AGENT_FAILED', `no exit of the command within ${CANCEL_MS} ms of its cancelling`, this.#facts()),
    );
    try {
      await this.exited;
    } catch (error) {
      // One that could not be started has ended too.
      if (VmError.from(error).code.startsWith('AGENT_')) throw error;
    }
  }

  resize(rows: number, cols: number): void {
    const size = terminalSize(rows, cols);
    if (this.#request.pty === undefined)
      throw new VmError('INVALID_STATE', 'the command has no terminal', this.#facts());
    if (!this.#process.ended) this.#process.resize(size.rows, size.cols);
  }

  async #watch(): Promise<ExecExit> {
    const { signal, timeoutMs } = this.#request;
    const scope = callScope('the command', { signal, timeoutMs });
    const stop = (): void => {
      if (!this.#process.ended) this.#stop(VmError.from(scope.signal.reason).with(this.#facts()));
    };
    if (scope.signal.aborted) stop();
    else scope.signal.addEventListener('abort', stop, { once: true });
    try {
      const exit = await this.#process.exited;
      this.#durationMs = performance.now() - this.#startedAt;
      if (exit.timedOut) {
        this.#failure ??= new VmError('TIMEOUT', `the command took longer than ${timeoutMs} ms`, this.#facts());
      }
      return { ...exit, timedOut: exit.timedOut || this.#failure?.code === 'TIMEOUT' };
    } finally {
      scope.signal.removeEventListener('abort', stop);
      scope.release();
      clearTimeout(this.#cancelTimer);
    }
  }

  /** Ends the command because of the error, which is then what awaiting it rejects with. */
  #stop(error: VmError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#cancel(error);
  }

  #cancel(unlessEnded: VmError): void {
    if (this.#process.ended || this.#cancelTimer !== undefined) return;
    this.#process.cancel();
    this.#cancelTimer = setTimeout(() => this.#process.abandon(unlessEnded), CANCEL_MS);
  }

  #feed(): void {
    const stdin = this.#process.stdin;
    const source = this.#request.stdin;
    if (stdin === undefined || source === 'ignore') return;
    stdin.on('error', (cause) => {
      if (this.#process.ended) return;
      const why = cause instanceof Error ? cause.message : String(cause);
      this.#stop(new VmError('IO', `the source of the command's input failed: ${why}`, { ...this.#facts(), cause }));
    });
    if (source === 'pipe') return;
    if (Buffer.isBuffer(source)) stdin.end(source);
    else pipeline(source, stdin, () => {});
  }

  #outcome(): Promise<ExecResult> {
    this.#result ??= this.#collect();
    return this.#result;
  }

  async #collect(): Promise<ExecResult> {
    const { maxOutputBytes, encoding, check, argv } = this.#request;
    const collected = new Map<StreamName, Collector>();
    for (const name of ['stdout', 'stderr'] as const) {
      if (this.#taken.has(name)) continue;
      this.#taken.add(name);
      const over = (): void => {
        const message = `the command wrote more than ${maxOutputBytes} bytes to ${name}`;
        this.#stop(new VmError('OUTPUT_LIMIT', message, this.#facts()));
      };
      collected.set(name, new Collector(this.#process[name], maxOutputBytes, over));
    }
    let exit: ExecExit;
    try {
      exit = await this.exited;
    } catch (error) {
      throw this.#failure ?? error;
    }
    const bytes = (name: StreamName): Buffer => collected.get(name)?.bytes() ?? Buffer.alloc(0);
    const result = execResult(exit, bytes('stdout'), bytes('stderr'), encoding, this.#durationMs);
    if (this.#failure !== undefined) throw withResult(this.#failure, result);
    if (check && exit.exitCode !== 0) throw nonzeroExit(argv[0], result);
    return result;
  }

  async *#iterate(): AsyncGenerator<ExecChunk, void, undefined> {
    const { stdout, stderr } = this.#process;
    let wake: (() => void) | undefined;
    for (const output of [stdout, stderr]) output.listen(() => wake?.());
    let finished = false;
    try {
      for (;;) {
        const [stream, output]: [StreamName, Output] =
          stdout.headSeq < stderr.headSeq ? ['stdout', stdout] : ['stderr', stderr];
        const data = output.take();
        if (data !== undefined) yield { stream, data };
        else if (stdout.ended && stderr.ended) break;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
      finished = true;
      await this.#outcome();
    } finally {
      if (!finished) {
        // Ended early: the caller wants no more of it.
        const cancelled = this.cancel();
        stdout.discard();
        stderr.discard();
        await cancelled;
      }
    }
  }

  #stream(name: StreamName): Readable {
    let stream = this.#streams.get(name);
    if (stream === undefined) {
      this.#take(name);
      stream = outputStream(this.#process[name]);
      this.#streams.set(name, stream);
    }
    return stream;
  }

  #take(name: StreamName): void {
    if (this.#taken.has(name)) {
      throw new VmError(
        'INVALID_STATE',
        `the command's ${name} is taken already: by an await, an iteration or its stream`,
        this.#facts(),
      );
    }
    this.#taken.add(name);
  }

  #facts(): { operation: string; path: string } {
    return { operation: 'exec', path: this.#request.argv[0] };
  }
}
