import { Duplex } from 'node:stream';
import { VmError } from '../../errors.ts';
import { deferred, type Deferred } from '../deferred.ts';
import { Output } from '../output.ts';
import { outputReader } from '../output-stream.ts';
import { FieldWriter } from './fields.ts';
import { encodeCredit, encodeDataHeader, encodeFrame } from './frames.ts';
import { Input } from './input.ts';
import { parseError, type Session, type StreamHandler } from './session.ts';
import { OUTPUT_WINDOW } from './spawn.ts';
import { violation } from './violation.ts';
import { Channel, FrameType, INPUT_CREDIT, Tag } from './wire.ts';

/** One connection with a program in the guest. */
export class NativeConnection implements StreamHandler {
  /** Both directions end for themselves; destroying it breaks the connection off. */
  readonly stream: Duplex;
  /** Settles when the program has taken the connection. */
  readonly connected: Promise<void>;
  readonly #session: Session;
  /** of the program, for messages */
  readonly #address: string;
  readonly #input: Input;
  readonly #output: Output;
  readonly #connected: Deferred<void> = deferred();
  #id = 0;
  #open = false;
  /** the agent's stream has ended, or never began */
  #mute = true;
  #cancelled = false;

  constructor(session: Session, address: string) {
    this.#session = session;
    this.#address = address;
    this.connected = this.#connected.promise;
    this.#output = new Output(OUTPUT_WINDOW, { last: 0 }, (bytes) =>
      this.#send(encodeCredit(this.#id, Channel.FROM_GUEST, bytes)),
    );
    this.#input = new Input({
      get congested(): boolean {
        return session.congested;
      },
      data: (bytes) => this.#send(encodeDataHeader(this.#id, Channel.TO_GUEST, bytes.length), bytes),
      end: () => this.#send(encodeDataHeader(this.#id, Channel.TO_GUEST, 0)),
    });
    this.stream = new Duplex({
      highWaterMark: INPUT_CREDIT,
      read: () => read(),
      write: (data: Buffer, _encoding, done) => {
        if (this.#mute) done(this.#broken('EPIPE', 'the other side has closed it'));
        else this.#input.writable.write(data, done);
      },
      final: (done) => {
        if (this.#mute) done();
        else this.#input.writable.end(done);
      },
      destroy: (error, done) => {
        this.#cancel();
        done(error);
      },
    });
    // One that nobody listens to must not end the host's process.
    this.stream.on('error', () => {});
    const read = outputReader(this.#output, this.stream);
  }

  /** Opens the stream and asks the agent to connect. @throws {VmError} BUSY; the session's own failure */
  dial(): void {
    this.#id = this.#session.open(this);
    this.#mute = false;
    const fields = new FieldWriter()
      .text(Tag.ADDRESS, this.#address)
      .int(Tag.CREDIT, this.#session.windowFor(OUTPUT_WINDOW));
    this.#send(encodeFrame(FrameType.DIAL, this.#id, fields.finish()));
  }

  /** The stream is one that the agent has opened, and is connected. */
  accept(id: number): void {
    this.#id = id;
    this.#mute = false;
    this.#open = true;
    this.#connected.resolve();
  }

  onFrame(type: FrameType, payload: Buffer): void {
    if (type === FrameType.DATA) this.#onData(payload);
    else if (type === FrameType.CREDIT) {
      if (payload.length !== 5 || payload[0] !== Channel.TO_GUEST) throw violation('a wrong CREDIT');
      this.#input.addCredit(payload.readUInt32LE(1));
    } else if (type === FrameType.STARTED) {
      if (this.#open) throw violation('STARTED comes twice');
      this.#open = true;
      this.#connected.resolve();
    } else if (type === FrameType.DONE) {
      if (!this.#open && !this.#cancelled) throw violation('DONE before STARTED');
      this.#mute = true;
      this.#output.end();
      this.#input.close();
    } else if (type === FrameType.ERROR) this.#onError(payload);
    else throw violation(`a frame of type 0x${type.toString(16)} on a connection`);
  }

  onGone(error: VmError): void {
    this.#fail(
      new VmError(error.code, `the connection to ${this.#address} was lost: ${error.rawMessage}`, {
        ...error.facts,
        cause: error,
      }),
    );
  }

  onDrain(): void {
    this.#input.pump();
  }

  onClosing(): void {
    this.#cancel();
  }

  #onData(payload: Buffer): void {
    if (!this.#open || payload[0] !== Channel.FROM_GUEST) throw violation('DATA on a channel that is not open');
    // What was on its way when we broke off.
    if (this.#cancelled) return;
    if (this.#output.ended) throw violation('DATA after the end of file');
    if (payload.length === 1) this.#output.end();
    else if (payload.length - 1 > this.#output.room) throw violation('more DATA than there is credit for');
    else this.#output.push(payload.subarray(1));
  }

  #onError(payload: Buffer): void {
    const { errno, message } = parseError(payload);
    this.#fail(this.#open ? this.#broken(errno, message) : dialError(this.#address, errno, message));
  }

  #fail(error: VmError): void {
    this.#mute = true;
    this.#connected.reject(error);
    this.stream.destroy(error);
  }

  /** Has the agent close the connection; the stream stays open until it has. */
  #cancel(): void {
    if (!this.#mute && !this.#cancelled) this.#send(encodeFrame(FrameType.CANCEL, this.#id));
    this.#cancelled = true;
    this.#output.discard();
    this.#input.close();
  }

  #broken(errno: string, why: string): VmError {
    const message = `the connection to ${this.#address} broke: ${why}`;
    return new VmError('CONNECT_FAILED', message, { operation: 'dial', path: this.#address, errno });
  }

  #send(...parts: readonly Buffer[]): void {
    if (!this.#mute && !this.#cancelled) this.#session.send(...parts);
  }
}

/** Why the agent could not connect. */
function dialError(address: string, errno: string, message: string): VmError {
  const facts = { operation: 'dial', path: address, errno };
  if (errno === 'ENOSYS') return new VmError('UNSUPPORTED', `this guest agent makes no connections: ${message}`, facts);
  if (errno === 'EINVAL') return new VmError('INVALID_ARGUMENT', `address: ${message}`, { ...facts, field: 'address' });
  return new VmError('CONNECT_FAILED', `cannot connect to ${address} in the guest: ${message}`, facts);
}
