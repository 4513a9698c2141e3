import type { Duplex } from 'node:stream';
import { getSystemErrorName } from 'node:util';
import { VmError } from '../../errors.ts';
import type { GuestEvent } from '../agent.ts';
import { deferred, type Deferred } from '../deferred.ts';
import { printable } from '../printable.ts';
import { Fields } from './fields.ts';
import { FrameDecoder, encodeFrame, type Frame } from './frames.ts';
import { parseEvent, parseHello, type Hello } from './hello.ts';
import { PrefaceFinder, newPreface, opening } from './preface.ts';
import { violation } from './violation.ts';
import { FrameType, MAX_MESSAGE_BYTES, MAX_STREAMS, MAX_STREAM_ID, Tag } from './wire.ts';

/** A guest that reads nothing must not fill the host's memory. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;
const MAX_PINGS = 64;
/** How long a closing session waits for what is written to leave, in milliseconds. */
const CLOSE_MS = 1000;

/** What the agent may send on a stream, with whether that ends the stream. */
const ON_STREAMS: ReadonlyMap<FrameType, boolean> = new Map([
  [FrameType.STARTED, false],
  [FrameType.DATA, false],
  [FrameType.CREDIT, false],
  [FrameType.EXIT, true],
  [FrameType.DONE, true],
  [FrameType.ERROR, true],
]);

/** One open stream of a session. What a method throws ends the session. */
export interface StreamHandler {
  /** EXIT, DONE and ERROR are the last frame of the stream. */
  onFrame(type: FrameType, payload: Buffer): void;
  /** The session has ended, and so has the stream. */
  onGone(error: VmError): void;
  /** A listener's: the agent has opened a stream for a connection. Returns who serves that. */
  onAccepted?(id: number, fields: Fields): StreamHandler;
  /** The channel takes more data again. */
  onDrain?(): void;
  /** The session is closed by the host; the guest may not notice. */
  onClosing?(): void;
}

export interface SessionOptions {
  showsHangup: boolean;
  lossyWindow?: number | undefined;
  onEvent?: ((event: GuestEvent) => void) | undefined;
}

/** Milliseconds between two greetings on a channel that may have lost the first. */
const GREETING_MS = 500;

/** One client's session on one channel: frames in both directions, streams by id, and why it ended. Owns the byte stream. */
export class Session {
  /** the agent's HELLO; rejects when the session ends before it */
  readonly hello: Promise<Hello>;
  /** why the session ended; undefined when the host closed it */
  readonly closed: Promise<VmError | undefined>;
  readonly #stream: Duplex;
  readonly #hello: Deferred<Hello> = deferred();
  readonly #closed: Deferred<VmError | undefined> = deferred();
  #finder: PrefaceFinder;
  readonly #decoder: FrameDecoder;
  readonly #streams = new Map<number, StreamHandler>();
  readonly #pings: { payload: Buffer; answered: Deferred<void> }[] = [];
  readonly #onEvent: ((event: GuestEvent) => void) | undefined;
  #phase: 'preface' | 'hello' | 'open' | 'over' = 'preface';
  #failure: VmError | undefined;
  #closing: Promise<void> | undefined;
  #nextId = 1;
  /** the newest id of the agent's own streams */
  #lastAccepted = 0;
  #pingCount = 0n;
  readonly #lossyWindow: number | undefined;
  #greeting: NodeJS.Timeout | undefined;
  #corked = false;

  /** Takes the stream over and writes the preface. */
  constructor(stream: Duplex, options: SessionOptions) {
    this.#stream = stream;
    this.hello = this.#hello.promise;
    this.closed = this.#closed.promise;
    this.#onEvent = options.onEvent;
    this.#lossyWindow = options.lossyWindow;
    const preface = newPreface();
    this.#finder = new PrefaceFinder(preface);
    this.#decoder = new FrameDecoder((frame) => this.#onFrame(frame));
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', (cause) => this.fail(gone(`the channel to the guest agent failed: ${cause.message}`, cause)));
    stream.on('end', () => this.fail(gone('the guest agent closed its channel')));
    stream.on('close', () => this.fail(gone('the channel to the guest agent was closed')));
    stream.on('drain', () => {
      for (const handler of this.#streams.values()) handler.onDrain?.();
    });
    if (stream.destroyed) this.fail(gone('the channel to the guest agent is closed already', stream.errored));
    else {
      this.send(opening(preface, options.showsHangup));
      if (options.lossyWindow !== undefined) this.#greeting = setInterval(() => this.#greetAnew(options), GREETING_MS);
    }
  }

  /** What was sent before the guest could take it is lost, without a sign. Only the echo of the newest preface counts. */
  #greetAnew({ showsHangup }: SessionOptions): void {
    if (this.#phase !== 'preface') return clearInterval(this.#greeting);
    if (this.congested) return undefined;
    const preface = newPreface();
    this.#finder = new PrefaceFinder(preface);
    this.send(opening(preface, showsHangup));
    return undefined;
  }

  /** Bytes of an output that the agent may send before credit comes: what is usual, or less where more could get lost. */
  windowFor(usual: number): number {
    return Math.min(usual, this.#lossyWindow ?? usual);
  }

  /** Why nothing can be asked any more. */
  get failure(): VmError | undefined {
    return this.#failure;
  }

  /** Data should wait for `onDrain`. */
  get congested(): boolean {
    return this.#stream.writableNeedDrain;
  }

  /**
   * A new stream's id, for the frame that opens it.
   * @throws {VmError} BUSY when 256 are open; the session's own failure
   */
  open(handler: StreamHandler): number {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#streams.size >= MAX_STREAMS) {
      throw new VmError('BUSY', `${MAX_STREAMS} commands and requests are open in this session`, {
        advice: 'Wait for some of them to end.',
      });
    }
    const id = this.#nextId;
    if (id > MAX_STREAM_ID)
      throw new VmError('AGENT_FAILED', 'this session has used up its stream ids', { advice: 'Connect again.' });
    this.#nextId += 2;
    this.#streams.set(id, handler);
    return id;
  }

  /** Writes; all that is written in one turn of the event loop leaves in one system call. */
  send(...parts: readonly Buffer[]): void {
    const stream = this.#stream;
    if (this.#phase === 'over' || !stream.writable) return;
    if (!this.#corked) {
      this.#corked = true;
      stream.cork();
      process.nextTick(() => {
        this.#corked = false;
        stream.uncork();
      });
    }
    for (const part of parts) stream.write(part);
    if (stream.writableLength > MAX_UNSENT_BYTES) this.fail(gone('the guest agent has stopped reading'));
  }

  /**
   * Settles when the agent has sent the same bytes back.
   * @throws {VmError} BUSY when 64 are unanswered; the session's failure
   */
  async ping(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#pings.length >= MAX_PINGS)
      throw new VmError('BUSY', `${MAX_PINGS} pings are unanswered`, { operation: 'ping' });
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64LE(this.#pingCount);
    this.#pingCount += 1n;
    const answered = deferred<void>();
    this.#pings.push({ payload, answered });
    this.send(encodeFrame(FrameType.PING, 0, payload));
    await answered.promise;
  }

  /** Ends the session from our side; settles when the stream is closed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the session; the first reason counts. */
  fail(error: VmError): void {
    this.#end(error, error);
    this.#stream.destroy();
  }

  async #close(): Promise<void> {
    const stream = this.#stream;
    for (const handler of this.#streams.values()) handler.onClosing?.();
    this.#end(gone('the session with the guest agent was closed'), undefined);
    if (stream.closed) return;
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()));
    const timer = setTimeout(() => stream.destroy(), CLOSE_MS);
    stream.end(() => stream.destroy());
    await closed;
    clearTimeout(timer);
  }

  #end(error: VmError, reason: VmError | undefined): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#phase = 'over';
    clearInterval(this.#greeting);
    this.#hello.reject(error);
    for (const { answered } of this.#pings.splice(0)) answered.reject(error);
    const handlers = [...this.#streams.values()];
    this.#streams.clear();
    for (const handler of handlers) handler.onGone(error);
    this.#closed.resolve(reason);
  }

  #onData(chunk: Buffer): void {
    if (this.#phase === 'over') return;
    try {
      let rest: Buffer | undefined = chunk;
      if (this.#phase === 'preface') {
        rest = this.#finder.push(chunk);
        if (rest !== undefined) this.#phase = 'hello';
      }
      if (rest !== undefined) this.#decoder.push(rest);
    } catch (error) {
      this.fail(VmError.from(error));
    }
  }

  #onFrame({ type, stream, payload }: Frame): void {
    // A chunk may hold more frames than the one that ended the session.
    if (this.#phase === 'over') return;
    if (stream === 0) {
      this.#onSessionFrame(type, payload);
      return;
    }
    if (this.#phase !== 'open') throw violation('a frame before HELLO');
    if (type === FrameType.ACCEPTED) {
      this.#onAccepted(stream, payload);
      return;
    }
    const last = ON_STREAMS.get(type);
    if (last === undefined) throw violation(`a frame of type 0x${type.toString(16)} on a stream`);
    const handler = this.#streams.get(stream);
    if (handler === undefined) this.#onUnknownStream(type, stream);
    else {
      handler.onFrame(type, payload);
      // Not before: a last frame that is wrong throws, and its handler must then hear of the session's end.
      if (last) this.#streams.delete(stream);
    }
  }

  #onSessionFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.ERROR) {
      const { message, errno } = parseError(payload);
      this.fail(new VmError('AGENT_FAILED', `the guest agent ended the session: ${message}`, { errno }));
    } else if (this.#phase === 'hello') {
      if (type !== FrameType.HELLO) throw violation('a frame before HELLO');
      const hello = parseHello(payload);
      this.#phase = 'open';
      this.#hello.resolve(hello);
    } else if (type === FrameType.PONG) {
      const ping = this.#pings.shift();
      if (ping === undefined || !ping.payload.equals(payload)) throw violation('a PONG without its PING');
      ping.answered.resolve();
    } else if (type === FrameType.EVENT) {
      const event = parseEvent(payload);
      // Not here: what the callback throws is no fault of the session.
      if (event !== undefined) queueMicrotask(() => this.#onEvent?.(event));
    } else {
      throw violation(`a frame of type 0x${type.toString(16)} on stream 0`);
    }
  }

  #onAccepted(id: number, payload: Buffer): void {
    if (id % 2 !== 0 || id <= this.#lastAccepted) throw violation('ACCEPTED with an id that is not new');
    if (this.#streams.size >= 2 * MAX_STREAMS) throw violation('more connections than streams may be open');
    const fields = new Fields(payload);
    const listener = this.#streams.get(fields.int(Tag.LISTENER, 1, MAX_STREAM_ID));
    if (listener?.onAccepted === undefined) throw violation('ACCEPTED for no listener');
    this.#lastAccepted = id;
    this.#streams.set(id, listener.onAccepted(id, fields));
  }

  /** Credit and errors may have crossed the stream's end; data and answers that follow the agent's own last frame can't have. */
  #onUnknownStream(type: FrameType, stream: number): void {
    if (stream % 2 === 0 ? stream > this.#lastAccepted : stream >= this.#nextId)
      throw violation(`a frame for stream ${stream}, which was never opened`);
    if (type === FrameType.CREDIT || type === FrameType.ERROR) return;
    throw violation(`a frame for stream ${stream} after its end`);
  }
}

/** What an ERROR frame says. */
export function parseError(payload: Buffer): { number: number; errno: string; message: string } {
  const fields = new Fields(payload);
  const number = fields.int(Tag.ERRNO, 0, 4095);
  const errno = errnoName(number);
  const message = printable(fields.message(Tag.MESSAGE, MAX_MESSAGE_BYTES));
  return { number, errno, message: message === '' ? errno : message };
}

// The guest is Linux, and so is the host: they number errors alike.
function errnoName(number: number): string {
  if (number === 0) return 'no error number';
  const name = getSystemErrorName(-number);
  return /^E[A-Z0-9]+$/.test(name) ? name : `error ${number}`;
}

function gone(message: string, cause?: unknown): VmError {
  return new VmError('AGENT_GONE', message, cause === null ? {} : { cause });
}
