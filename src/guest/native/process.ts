import type { Writable } from 'node:stream';
import { VmError } from '../../errors.ts';
import type { ExecExit } from '../agent.ts';
import { deferred, type Deferred } from '../deferred.ts';
import type { ExecRequest } from '../exec-request.ts';
import { Output, type OutputOrder } from '../output.ts';
import { printable } from '../printable.ts';
import type { GuestProcess } from '../process.ts';
import { MAX_SIGNAL, signalName } from '../signals.ts';
import { Fields, FieldWriter } from './fields.ts';
import { encodeCredit, encodeDataHeader, encodeFrame } from './frames.ts';
import { Input } from './input.ts';
import { parseError, type Session, type StreamHandler } from './session.ts';
import { fitsWithSpawn, spawnFrames, OUTPUT_WINDOW } from './spawn.ts';
import { violation } from './violation.ts';
import { Channel, FrameType, Tag } from './wire.ts';

/** One SPAWN and what follows. */
export class NativeProcess implements GuestProcess, StreamHandler {
  readonly started: Promise<number>;
  readonly exited: Promise<ExecExit>;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly #session: Session;
  readonly #request: ExecRequest;
  readonly #input: Input | undefined;
  readonly #started: Deferred<number> = deferred();
  readonly #exited: Deferred<ExecExit> = deferred();
  #id = 0;
  #running = false;
  #ended = false;
  /** the agent's stream has ended, or never began */
  #mute = true;

  constructor(session: Session, request: ExecRequest) {
    this.#session = session;
    this.#request = request;
    this.started = this.#started.promise;
    this.exited = this.#exited.promise;
    const order: OutputOrder = { last: 0 };
    const window = session.windowFor(OUTPUT_WINDOW);
    this.stdout = new Output(window, order, (bytes) => this.#send(encodeCredit(this.#id, Channel.STDOUT, bytes)));
    this.stderr = new Output(window, order, (bytes) => this.#send(encodeCredit(this.#id, Channel.STDERR, bytes)));
    if (request.stdin !== 'ignore' && !fitsWithSpawn(request.stdin)) {
      this.#input = new Input({
        get congested(): boolean {
          return session.congested;
        },
        data: (bytes) => this.#send(encodeDataHeader(this.#id, Channel.STDIN, bytes.length), bytes),
        end: () => this.#send(encodeDataHeader(this.#id, Channel.STDIN, 0)),
      });
    }
  }

  get ended(): boolean {
    return this.#ended;
  }

  get stdin(): Writable | undefined {
    return this.#input?.writable;
  }

  /** Opens the stream and sends SPAWN; what can't be done is told by the promises. */
  start(spawn: Buffer): void {
    try {
      this.#id = this.#session.open(this);
    } catch (error) {
      this.abandon(VmError.from(error).with(this.#facts()));
      return;
    }
    this.#mute = false;
    this.#send(spawnFrames(this.#id, spawn, this.#request.stdin));
  }

  signal(number: number, tree: boolean): void {
    const fields = new FieldWriter().int(Tag.SIGNAL, number);
    if (tree) fields.int(Tag.TREE, 1);
    this.#send(encodeFrame(FrameType.SIGNAL, this.#id, fields.finish()));
  }

  cancel(): void {
    this.#send(encodeFrame(FrameType.CANCEL, this.#id));
    this.stdout.letGo();
    this.stderr.letGo();
  }

  resize(rows: number, cols: number): void {
    const fields = new FieldWriter().int(Tag.ROWS, rows).int(Tag.COLS, cols);
    this.#send(encodeFrame(FrameType.RESIZE, this.#id, fields.finish()));
  }

  abandon(error: VmError): void {
    this.#settle(error, () => {
      this.#started.reject(error);
      this.#exited.reject(error);
    });
  }

  onGone(error: VmError): void {
    this.#mute = true;
    const message = `the command was lost: ${error.rawMessage}`;
    this.abandon(new VmError(error.code, message, { ...this.#facts(), cause: error }));
  }

  onDrain(): void {
    this.#input?.pump();
  }

  onClosing(): void {
    if (!this.#request.detach) this.#send(encodeFrame(FrameType.CANCEL, this.#id));
  }

  onFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.DATA) this.#onData(payload);
    else if (type === FrameType.CREDIT) this.#onCredit(payload);
    else if (type === FrameType.STARTED) this.#onStarted(payload);
    else {
      this.#mute = true;
      if (type === FrameType.EXIT) this.#onExit(payload);
      else if (type === FrameType.ERROR) this.#onError(payload);
      else throw violation('DONE for a command');
    }
  }

  #onStarted(payload: Buffer): void {
    if (this.#running) throw violation('STARTED comes twice');
    this.#running = true;
    this.#started.resolve(new Fields(payload).int(Tag.PID, 1, 2 ** 31 - 1));
  }

  #onData(payload: Buffer): void {
    const output = payload[0] === Channel.STDOUT ? this.stdout : this.stderr;
    if (!this.#running || !(payload[0] === Channel.STDOUT || payload[0] === Channel.STDERR)) {
      throw violation('DATA on a channel that is not open');
    }
    // One that is waited for no longer is ended here, though the agent goes on.
    if (this.#ended) return;
    if (output.ended) throw violation('DATA after the end of file');
    if (payload.length === 1) output.end();
    else if (payload.length - 1 > output.room) throw violation('more DATA than there is credit for');
    else output.push(payload.subarray(1));
  }

  #onCredit(payload: Buffer): void {
    if (payload.length !== 5 || payload[0] !== Channel.STDIN || this.#request.stdin === 'ignore')
      throw violation('a wrong CREDIT');
    this.#input?.addCredit(payload.readUInt32LE(1));
  }

  #onExit(payload: Buffer): void {
    if (!this.#running) throw violation('EXIT before STARTED');
    const exit = parseExit(payload);
    this.#settle(undefined, () => this.#exited.resolve(exit));
  }

  #onError(payload: Buffer): void {
    const { number, errno, message } = parseError(payload);
    const error = this.#running
      ? new VmError('AGENT_FAILED', `the guest agent gave the command up: ${message}`, { ...this.#facts(), errno })
      : spawnError(this.#request, number, errno, message);
    this.abandon(error);
  }

  #settle(error: VmError | undefined, settle: () => void): void {
    if (this.#ended) return;
    this.#ended = true;
    settle();
    this.stdout.end(error);
    this.stderr.end(error);
    this.#input?.close();
  }

  #send(...parts: readonly Buffer[]): void {
    if (!this.#mute) this.#session.send(...parts);
  }

  #facts(): { operation: string; path: string } {
    return { operation: 'exec', path: this.#request.argv[0] };
  }
}

function parseExit(payload: Buffer): ExecExit {
  const fields = new Fields(payload);
  const how = { timedOut: fields.flag(Tag.TIMED_OUT), oomKilled: fields.flag(Tag.OOM) };
  if (fields.has(Tag.CODE) === fields.has(Tag.SIGNAL)) throw violation('EXIT has not just one of code and signal');
  if (fields.has(Tag.CODE)) return { exitCode: fields.int(Tag.CODE, 0, 255), ...how };
  const signal = fields.int(Tag.SIGNAL, 1, MAX_SIGNAL);
  return { exitCode: 128 + signal, signal: signalName(signal), ...how };
}

const ENOENT = 2;
const EACCES = 13;
const ENOSYS = 38;

function spawnError(request: ExecRequest, number: number, errno: string, message: string): VmError {
  const program = request.argv[0];
  const facts = { operation: 'exec', path: program, errno };
  const name = JSON.stringify(printable(program));
  if (number === ENOSYS) return new VmError('UNSUPPORTED', `this guest agent starts no commands: ${message}`, facts);
  // The agent's message begins so when the working folder is what is missing or closed.
  const folder = message.startsWith('working folder ');
  if (number === ENOENT && !folder)
    return new VmError('GUEST_NOT_FOUND', `no program ${name} in the guest: ${message}`, facts);
  if (number === EACCES && !folder) {
    return new VmError('GUEST_NOT_EXECUTABLE', `${name} may not be executed in the guest: ${message}`, facts);
  }
  return new VmError('EXEC_FAILED', `${name} could not be started in the guest: ${message}`, facts);
}
