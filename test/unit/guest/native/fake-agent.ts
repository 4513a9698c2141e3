import { type Duplex, duplexPair } from 'node:stream';
import { connectAgent, type ConnectOptions } from '../../../../src/guest/native/agent.ts';
import type { GuestAgent } from '../../../../src/guest/agent.ts';

// Written against docs/agent-protocol.md alone: it shares no code with what it tests.
export const T = {
  hello: 0x01,
  error: 0x02,
  ping: 0x03,
  pong: 0x04,
  event: 0x05,
  spawn: 0x10,
  started: 0x11,
  data: 0x12,
  credit: 0x13,
  signal: 0x14,
  resize: 0x15,
  exit: 0x16,
  cancel: 0x17,
  done: 0x25,
  sync: 0x30,
  info: 0x33,
  poweroff: 0x34,
} as const;

export type FieldValue = number | bigint | string | Uint8Array;
export type FieldList = readonly (readonly [tag: number, value: FieldValue])[];

export interface Received {
  type: number;
  stream: number;
  payload: Buffer;
}

export function fieldBytes(list: FieldList): Buffer {
  return Buffer.concat(
    list.flatMap(([tag, value]) => {
      const bytes = valueBytes(value);
      const header = Buffer.alloc(8);
      header.writeUInt16LE(tag, 0);
      header.writeUInt32LE(bytes.length, 4);
      return [header, bytes];
    }),
  );
}

function valueBytes(value: FieldValue): Buffer {
  if (typeof value === 'string') return Buffer.from(value);
  if (value instanceof Uint8Array) return Buffer.from(value);
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function frameBytes(type: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(12);
  header[0] = 0xa5;
  header[1] = type;
  header.writeUInt32LE(stream, 4);
  header.writeUInt32LE(payload.length, 8);
  return Buffer.concat([header, payload]);
}

/** Tag and value of each field: integers of 8 bytes stay bytes, as only the reader knows. */
export function readFields(payload: Buffer): { tag: number; value: Buffer }[] {
  const list = [];
  for (let at = 0; at < payload.length;) {
    const length = payload.readUInt32LE(at + 4);
    list.push({ tag: payload.readUInt16LE(at), value: payload.subarray(at + 8, at + 8 + length) });
    at += 8 + length;
  }
  return list;
}

export function intField(payload: Buffer, tag: number): number | undefined {
  const field = readFields(payload).find((it) => it.tag === tag);
  return field === undefined ? undefined : Number(field.value.readBigUInt64LE());
}

export function textFields(payload: Buffer, tag: number): string[] {
  return readFields(payload)
    .filter((it) => it.tag === tag)
    .map((it) => it.value.toString());
}

export const HELLO: FieldList = [
  [1, 1],
  [2, 'spawn pty signal sync info poweroff cgroup'],
  [3, '0.1.0'],
  [4, '11111111-2222-3333-4444-555555555555'],
];

/** The guest's end of a channel, driven by the test. */
export class FakeAgent {
  readonly host: Duplex;
  readonly guest: Duplex;
  /** sizes of the host's writes, as they arrive */
  readonly writes: number[] = [];
  padding = 0;
  preface: Buffer = Buffer.alloc(0);
  #bytes = Buffer.alloc(0);
  #phase: 'preface' | 'frames' = 'preface';
  readonly #frames: Received[] = [];
  readonly #waiting: ((frame: Received) => void)[] = [];
  readonly #answer: (preface: Buffer) => Buffer;

  constructor(
    answer: (preface: Buffer) => Buffer = (preface) =>
      Buffer.concat([preface, frameBytes(T.hello, 0, fieldBytes(HELLO))]),
  ) {
    [this.host, this.guest] = duplexPair();
    this.#answer = answer;
    this.guest.on('error', () => {});
    this.guest.on('data', (chunk: Buffer) => {
      this.writes.push(chunk.length);
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#parse();
    });
    // A fake is gone when the host is.
    this.host.on('close', () => this.guest.destroy());
    this.guest.on('end', () => this.guest.end());
  }

  #parse(): void {
    if (this.#phase === 'preface') {
      const at = this.#bytes.indexOf('PVAGENT1');
      if (at < 0 || this.#bytes.length < at + 24) return;
      this.padding = at;
      const preface = this.#bytes.subarray(at, at + 24);
      this.#bytes = this.#bytes.subarray(at + 24);
      this.#phase = 'frames';
      this.preface = preface;
      this.raw(this.#answer(preface));
    }
    while (this.#bytes.length >= 12) {
      if (this.#bytes[0] !== 0xa5 || this.#bytes.readUInt16LE(2) !== 0) throw new Error('the host sent no frame');
      const length = this.#bytes.readUInt32LE(8);
      if (length > 65_536) throw new Error('the host sent a frame that is too long');
      if (this.#bytes.length < 12 + length) return;
      const frame = {
        type: this.#bytes[1] as number,
        stream: this.#bytes.readUInt32LE(4),
        payload: this.#bytes.subarray(12, 12 + length),
      };
      this.#bytes = this.#bytes.subarray(12 + length);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#frames.push(frame);
      else waiting(frame);
    }
  }

  raw(bytes: Buffer): void {
    if (!this.guest.destroyed) this.guest.write(bytes);
  }

  send(type: number, stream: number, payload?: Uint8Array): void {
    this.raw(frameBytes(type, stream, payload));
  }

  fields(type: number, stream: number, list: FieldList): void {
    this.send(type, stream, fieldBytes(list));
  }

  data(stream: number, channel: number, bytes: string | Uint8Array): void {
    this.send(T.data, stream, Buffer.concat([Buffer.from([channel]), Buffer.from(bytes as string)]));
  }

  started(stream: number, pid: number = 42): void {
    this.fields(T.started, stream, [[32, pid]]);
  }

  exit(stream: number, list: FieldList = [[35, 0]]): void {
    this.fields(T.exit, stream, list);
  }

  /** The host's next frame; it must be of that type when one is named. */
  async next(type?: number): Promise<Received> {
    const frame =
      this.#frames.shift() ??
      (await new Promise<Received>((resolve) => {
        this.#waiting.push(resolve);
      }));
    if (type !== undefined && frame.type !== type) {
      throw new Error(`expected a frame of type 0x${type.toString(16)}, not 0x${frame.type.toString(16)}`);
    }
    return frame;
  }

  /** Frames that have come and were not asked for. */
  get unread(): readonly Received[] {
    return this.#frames;
  }
}

/** A session with a fake agent that has said hello. */
export async function connectFake(
  options: Partial<ConnectOptions> = {},
  hello: FieldList = HELLO,
): Promise<{ fake: FakeAgent; agent: GuestAgent }> {
  const fake = new FakeAgent((preface) => Buffer.concat([preface, frameBytes(T.hello, 0, fieldBytes(hello))]));
  const agent = await connectAgent(fake.host, { showsHangup: true, ...options });
  await fake.next(T.hello);
  return { fake, agent };
}

/** Lets everything that is under way in memory arrive. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
