import type { Duplex } from 'node:stream';
import { VmError } from '../../errors.ts';
import type { GuestListener } from '../agent.ts';
import { deferred, type Deferred } from '../deferred.ts';
import { printable } from '../printable.ts';
import { NativeConnection } from './connection.ts';
import { Fields, FieldWriter } from './fields.ts';
import { encodeFrame } from './frames.ts';
import { parseError, type Session, type StreamHandler } from './session.ts';
import { violation } from './violation.ts';
import { FrameType, MAX_ADDRESS_BYTES, Tag } from './wire.ts';

/** A socket that listens in the guest. */
export class NativeListener implements GuestListener, StreamHandler {
  readonly closed: Promise<VmError | undefined>;
  /** Settles when the agent listens. */
  readonly started: Promise<void>;
  address: string;
  readonly #session: Session;
  readonly #onConnection: (stream: Duplex, from: string) => void;
  readonly #started: Deferred<void> = deferred();
  readonly #closed: Deferred<VmError | undefined> = deferred();
  readonly #id: number;
  #state: 'starting' | 'listening' | 'closing' | 'over' = 'starting';

  /** Opens the stream and asks the agent to listen. @throws {VmError} BUSY; the session's own failure */
  constructor(session: Session, address: string, onConnection: (stream: Duplex, from: string) => void) {
    this.#session = session;
    this.address = address;
    this.#onConnection = onConnection;
    this.started = this.#started.promise;
    this.closed = this.#closed.promise;
    this.#id = session.open(this);
    session.send(encodeFrame(FrameType.LISTEN, this.#id, new FieldWriter().text(Tag.ADDRESS, address).finish()));
  }

  async close(): Promise<void> {
    if (this.#state === 'starting' || this.#state === 'listening') {
      this.#state = 'closing';
      this.#session.send(encodeFrame(FrameType.CANCEL, this.#id));
    }
    await this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  onFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.STARTED) {
      if (this.#state === 'closing') return;
      if (this.#state !== 'starting') throw violation('STARTED comes twice');
      this.address = printable(new Fields(payload).text(Tag.ADDRESS, MAX_ADDRESS_BYTES));
      this.#state = 'listening';
      this.#started.resolve();
    } else if (type === FrameType.DONE) {
      if (this.#state !== 'closing') throw violation('DONE for a listener that is open');
      this.#end(undefined);
    } else if (type === FrameType.ERROR) this.#end(listenError(this.address, payload));
    else throw violation(`a frame of type 0x${type.toString(16)} for a listener`);
  }

  /** The agent has accepted a connection. One that crossed our CANCEL is closed again. */
  onAccepted(id: number, fields: Fields): StreamHandler {
    if (this.#state === 'starting' || this.#state === 'over') throw violation('ACCEPTED before STARTED');
    const from = printable(fields.text(Tag.ADDRESS, MAX_ADDRESS_BYTES));
    const connection = new NativeConnection(this.#session, from);
    connection.accept(id);
    if (this.#state === 'closing') connection.stream.destroy();
    // Not here: what the callback throws is no fault of the session.
    else queueMicrotask(() => this.#onConnection(connection.stream, from));
    return connection;
  }

  onGone(error: VmError): void {
    this.#end(error);
  }

  #end(error: VmError | undefined): void {
    const closing = this.#state === 'closing';
    this.#state = 'over';
    this.#started.reject(error ?? new VmError('ABORTED', 'the listener was closed'));
    this.#closed.resolve(closing ? undefined : error);
  }
}

function listenError(address: string, payload: Buffer): VmError {
  const { errno, message } = parseError(payload);
  const facts = { operation: 'listen', path: address, errno };
  if (errno === 'EINVAL') return new VmError('INVALID_ARGUMENT', `address: ${message}`, { ...facts, field: 'address' });
  return new VmError('AGENT_FAILED', `the guest cannot listen on ${address}: ${message}`, facts);
}
