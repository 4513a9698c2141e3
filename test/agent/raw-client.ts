import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { encodeFrame, Fields, integer, tags, text, types, type Frame } from './wire.ts';

/** What a process left: how it ended, or why it never began, and its output. */
export interface Outcome {
  started: boolean;
  fields: Fields;
  stdout: string;
  stderr: string;
}

/** A host side with no mercy and no state but its socket: it can send anything. */
export class RawClient {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #ended = false;
  #changed: () => void = () => {};
  #stream = -1;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#changed();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#ended = true;
      this.#changed();
    });
  }

  static async connect(path: string): Promise<RawClient> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  send(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** Preface and HELLO; resolves with the agent's HELLO once the preface has come back. */
  async open(): Promise<Fields> {
    const preface = Buffer.concat([Buffer.from('PVAGENT1'), randomBytes(16)]);
    this.send(preface, encodeFrame(types.hello, 0, integer(tags.version, 1)));
    await this.awaitPreface(preface);
    this.#stream = -1;
    const hello = await this.next();
    if (hello.type !== types.hello) throw new Error(`HELLO expected, got ${hello.type}`);
    return new Fields(hello.payload);
  }

  async awaitPreface(preface: Buffer): Promise<void> {
    await this.#until(() => this.#received.includes(preface));
    this.#received = this.#received.subarray(this.#received.indexOf(preface) + preface.length);
  }

  async next(): Promise<Frame> {
    await this.#until(
      () => this.#received.length >= 12 && this.#received.length >= 12 + this.#received.readUInt32LE(8),
    );
    const frame = this.#received;
    const length = 12 + frame.readUInt32LE(8);
    this.#received = frame.subarray(length);
    if (frame[0] !== 0xa5 || frame.readUInt16LE(2) !== 0) throw new Error('not a frame');
    return { type: frame[1] ?? 0, stream: frame.readUInt32LE(4), payload: frame.subarray(12, length) };
  }

  /** The next frame of a type; what comes before it is dropped. */
  async nextOf(type: number): Promise<Frame> {
    for (;;) {
      const frame = await this.next();
      if (frame.type === type) return frame;
    }
  }

  /** Bytes that have come and that nobody has asked for. */
  get pending(): number {
    return this.#received.length;
  }

  nextStream(): number {
    return (this.#stream += 2);
  }

  request(type: number, ...fields: Buffer[]): number {
    const stream = this.nextStream();
    this.send(encodeFrame(type, stream, Buffer.concat(fields)));
    return stream;
  }

  spawn(argv: string[], ...fields: Buffer[]): number {
    return this.request(types.spawn, ...argv.map((it) => text(tags.arg, it)), ...fields);
  }

  data(stream: number, body: Uint8Array | string): void {
    this.send(encodeFrame(types.data, stream, Buffer.concat([Buffer.of(0), Buffer.from(body)])));
  }

  credit(stream: number, channel: number, amount: number): void {
    const body = Buffer.alloc(5);
    body[0] = channel;
    body.writeUInt32LE(amount, 1);
    this.send(encodeFrame(types.credit, stream, body));
  }

  /** Reads a process to its end, giving credit back at once. */
  async finish(stream: number): Promise<Outcome> {
    const output: Record<number, Buffer[]> = { 1: [], 2: [] };
    const read = (channel: number): string => Buffer.concat(output[channel] ?? []).toString();
    let started = false;
    for (;;) {
      const { type, stream: from, payload } = await this.next();
      if (from !== stream) throw new Error(`a frame of stream ${from}, type ${type}`);
      if (type === types.started) started = true;
      else if (type === types.data) {
        const channel = payload[0] ?? 0;
        output[channel]?.push(payload.subarray(1));
        if (payload.length > 1) this.credit(stream, channel, payload.length - 1);
      } else if (type === types.exit || type === types.error) {
        return { started, fields: new Fields(payload), stdout: read(1), stderr: read(2) };
      } else if (type !== types.credit) throw new Error(`a frame of type ${type}`);
    }
  }

  run(argv: string[], ...fields: Buffer[]): Promise<Outcome> {
    return this.finish(this.spawn(argv, ...fields));
  }

  /** Resolves when the agent has closed the connection. */
  async ended(): Promise<void> {
    await this.#until(() => this.#ended);
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.#until(() => this.#ended);
  }

  async #until(satisfied: () => boolean): Promise<void> {
    while (!satisfied()) {
      if (this.#ended) throw new Error('the agent closed the connection');
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}
