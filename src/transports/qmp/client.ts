import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { printable } from '../log-tail.ts';
import { connectUnix } from '../unix-socket.ts';
import { LineSplitter } from './lines.ts';
import { parseMessage, type QmpEvent, type QmpGreeting, type QmpMessage } from './messages.ts';

/** Bytes of one message. QEMU's longest answer, query-qmp-schema, has some 200 KiB. */
const maxLineBytes = 16 * 2 ** 20;
/** Milliseconds for the greeting and the handshake, when the caller gives no limit. */
const handshakeMs = 10_000;
/** Milliseconds for one command, when the caller gives no limit. */
const commandMs = 60_000;

export interface QmpConnectOptions extends CallOptions {
  /** hears every event from the first byte on, those before the handshake included */
  onEvent?: ((event: QmpEvent) => void) | undefined;
}

interface Waiter {
  command: string;
  resolve(value: unknown): void;
  reject(error: VmError): void;
}

/**
 * Opens a QMP session: waits for the socket and the greeting, then negotiates. The stream belongs to the session from
 * then on, also when this fails. A QMP server speaks to one client at a time: hold a lock on it.
 * @param target path of a unix socket, or an open stream
 * @throws {VmError} TIMEOUT (after 10 s by default), ABORTED, VMM_GONE, VMM_FAILED when it does not speak QMP; and what
 *   {@link connectUnix} throws
 */
export async function connectQmp(target: string | Duplex, options: QmpConnectOptions = {}): Promise<QmpClient> {
  const scope = callScope('the QMP handshake', { signal: options.signal, timeoutMs: options.timeoutMs ?? handshakeMs });
  const call = { signal: scope.signal };
  try {
    const client = await openQmp(target, { ...options, ...call });
    try {
      await scope.race(client.negotiated);
      return client;
    } catch (error) {
      await client.close();
      throw error;
    }
  } catch (error) {
    scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}

/**
 * Opens a QMP session and waits for the connection alone: what is asked is said right behind the handshake, and answered with it. Of a
 * VMM that does not speak QMP the first command tells.
 * @throws {VmError} what {@link connectUnix} throws
 */
export async function openQmp(target: string | Duplex, options: QmpConnectOptions = {}): Promise<QmpClient> {
  const stream = typeof target === 'string' ? await connectUnix(target, options) : target;
  return new QmpClient(stream, options.onEvent);
}

/** A QMP session. Made by {@link connectQmp} or {@link openQmp}. */
export class QmpClient implements AsyncDisposable {
  /** `event` for each of the VMM's events; `close` once, with the reason, when the session is over. */
  readonly events: EventEmitter<{ event: [QmpEvent]; close: [VmError] }> = new EventEmitter();
  /** Resolves with the greeting; rejects when the session ends without one. */
  readonly greeted: Promise<QmpGreeting>;
  /** Resolves when the VMM takes commands; rejects when the session ends before. */
  readonly negotiated: Promise<void>;

  readonly #stream: Duplex;
  readonly #lines = new LineSplitter(maxLineBytes);
  // Ids begin with a random word: an answer to a former client of the same monitor is then never taken for ours.
  readonly #prefix = randomBytes(4).toString('hex');
  readonly #waiters = new Map<string, Waiter>();
  readonly #closed: Promise<void>;
  #settleGreeting: { resolve(greeting: QmpGreeting): void; reject(error: VmError): void } | undefined;
  #sent = 0;
  #end: VmError | undefined;

  constructor(stream: Duplex, onEvent?: (event: QmpEvent) => void) {
    this.#stream = stream;
    if (onEvent !== undefined) this.events.on('event', onEvent);
    this.greeted = new Promise((resolve, reject) => {
      this.#settleGreeting = { resolve, reject };
    });
    this.greeted.catch(() => undefined);
    this.#closed = new Promise((resolve) => {
      stream.once('close', () => {
        this.#finish(new VmError('VMM_GONE', 'the VMM closed its monitor'));
        resolve();
      });
    });
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (error) =>
      this.#finish(new VmError('VMM_GONE', `the monitor was lost: ${error.message}`, { cause: error })),
    );
    stream.on('end', () => this.#finish(new VmError('VMM_GONE', 'the VMM closed its monitor')));
    if (stream.destroyed) this.#finish(new VmError('VMM_GONE', 'the monitor was closed before it was used'));
    // Said before the greeting is heard: QEMU reads nothing until it has greeted, and then need not wait for us.
    this.negotiated = Promise.all([this.greeted, this.execute('qmp_capabilities')]).then(() => undefined);
    this.negotiated.catch(() => undefined);
  }

  /**
   * Sends a command and resolves with what it returns. Any number may be under way at once. When it times out or is
   * aborted the VMM may still carry it out; its late answer is dropped.
   * @throws {VmError} VMM_FAILED with the VMM's words when it refuses, VMM_GONE, TIMEOUT (after 60 s by default),
   *   ABORTED, INVALID_ARGUMENT when the arguments can't be JSON
   */
  async execute<T = unknown>(command: string, args?: Record<string, unknown>, options: CallOptions = {}): Promise<T> {
    if (this.#end !== undefined) throw this.#end.with({ operation: command });
    const scope = callScope(command, { signal: options.signal, timeoutMs: options.timeoutMs ?? commandMs });
    const id = `${this.#prefix}-${++this.#sent}`;
    try {
      scope.throwIfEnded();
      const text = asText(args === undefined ? { execute: command, id } : { execute: command, arguments: args, id });
      const answer = new Promise<unknown>((resolve, reject) => this.#waiters.set(id, { command, resolve, reject }));
      this.#stream.write(`${text}\n`);
      return (await scope.race(answer)) as T;
    } finally {
      this.#waiters.delete(id);
      scope.release();
    }
  }

  /**
   * Resolves with the next event that fits. Ask before sending what causes it.
   * @throws {VmError} VMM_GONE, TIMEOUT, ABORTED
   */
  async nextEvent(fits: (event: QmpEvent) => boolean, options: CallOptions = {}): Promise<QmpEvent> {
    if (this.#end !== undefined) throw this.#end;
    const scope = callScope('waiting for an event', options);
    let stop = (): void => undefined;
    const found = new Promise<QmpEvent>((resolve, reject) => {
      const onEvent = (event: QmpEvent): void => void (fits(event) && resolve(event));
      this.events.on('event', onEvent).on('close', reject);
      stop = () => void this.events.off('event', onEvent).off('close', reject);
    });
    try {
      return await scope.race(found);
    } finally {
      stop();
      scope.release();
    }
  }

  /** Ends the session; commands under way reject with VMM_GONE. The VMM goes on. May be repeated. */
  async close(): Promise<void> {
    this.#finish(new VmError('VMM_GONE', 'the monitor session was closed'));
    if (!this.#stream.closed) await this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #receive(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    const lines = this.#lines.push(chunk);
    if (lines === undefined) return this.#broken(`sent a message longer than ${maxLineBytes} bytes`);
    for (const line of lines) {
      if (line.trim() === '') continue;
      const message = parseMessage(line);
      if (message === undefined) return this.#broken(`sent what is not QMP: ${printable(line.slice(0, 200))}`);
      this.#accept(message);
    }
  }

  #accept(message: QmpMessage): void {
    switch (message.kind) {
      case 'greeting':
        this.#settleGreeting?.resolve(message.greeting);
        break;
      case 'event':
        // Apart from this loop: a listener that throws must not cost us the messages behind this one.
        process.nextTick(() => this.events.emit('event', message.event));
        break;
      case 'return':
        this.#waiterOf(message.id)?.resolve(message.value);
        break;
      case 'error': {
        const waiter = this.#waiterOf(message.id);
        const text = printable(message.description);
        waiter?.reject(
          new VmError('VMM_FAILED', `${waiter.command}: ${text}`, {
            operation: waiter.command,
            cause: { class: message.class },
          }),
        );
        break;
      }
    }
  }

  /** Undefined for ids of commands that were given up and of other clients: their answers are dropped. */
  #waiterOf(id: unknown): Waiter | undefined {
    return typeof id === 'string' ? this.#waiters.get(id) : undefined;
  }

  #broken(what: string): void {
    this.#finish(new VmError('VMM_FAILED', `the VMM's monitor ${what}`));
  }

  #finish(reason: VmError): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    this.#settleGreeting?.reject(reason);
    for (const waiter of this.#waiters.values()) waiter.reject(reason.with({ operation: waiter.command }));
    this.#waiters.clear();
    this.#stream.destroy();
    process.nextTick(() => this.events.emit('close', reason));
  }
}

function asText(message: Record<string, unknown>): string {
  try {
    return JSON.stringify(message);
  } catch (error) {
    throw VmError.from(error, 'INVALID_ARGUMENT');
  }
}
