/** The protocol's numbers, written down a second time: a test that shared the product's would not see a slip in them. */
export const types = {
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
  put: 0x20,
  get: 0x21,
  dial: 0x22,
  listen: 0x23,
  accepted: 0x24,
  done: 0x25,
  sync: 0x30,
  online: 0x31,
  rescan: 0x32,
  info: 0x33,
  poweroff: 0x34,
  prepare: 0x35,
} as const;

export const tags = {
  version: 1,
  features: 2,
  agent: 3,
  bootId: 4,
  errno: 5,
  message: 6,
  event: 7,
  arg: 16,
  env: 17,
  cwd: 18,
  user: 19,
  pty: 20,
  rows: 21,
  cols: 22,
  stdin: 23,
  detach: 24,
  timeoutMs: 25,
  maxPids: 26,
  credit: 28,
  pid: 32,
  signal: 33,
  tree: 34,
  code: 35,
  timedOut: 36,
  mode: 48,
  entropy: 49,
  clock: 50,
  hostname: 51,
  machineId: 52,
  macMask: 53,
  uptimeMs: 64,
  memoryTotal: 65,
  cpusOnline: 67,
  reseeds: 68,
  processes: 69,
  memoryBlocks: 70,
  memoryBlockBytes: 71,
  path: 80,
  address: 81,
  listener: 82,
  top: 83,
  follow: 84,
  entries: 85,
  bytes: 86,
  skipped: 87,
} as const;

export interface Frame {
  type: number;
  stream: number;
  payload: Buffer;
}

export function encodeFrame(type: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(12);
  head[0] = 0xa5;
  head[1] = type;
  head.writeUInt32LE(stream, 4);
  head.writeUInt32LE(payload.length, 8);
  return Buffer.concat([head, payload]);
}

export function integer(tag: number, value: number | bigint): Buffer {
  const body = Buffer.alloc(8);
  body.writeBigUInt64LE(BigInt(value));
  return bytes(tag, body);
}

export function text(tag: number, value: string): Buffer {
  return bytes(tag, Buffer.from(value));
}

export function bytes(tag: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(tag, 0);
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}

/** The fields of an answer, which never repeat a tag. */
export class Fields {
  readonly #found = new Map<number, Buffer>();

  constructor(payload: Buffer) {
    for (let at = 0; at < payload.length;) {
      const end = at + 8 + payload.readUInt32LE(at + 4);
      if (end > payload.length) throw new Error('a field of the agent is cut short');
      this.#found.set(payload.readUInt16LE(at), payload.subarray(at + 8, end));
      at = end;
    }
  }

  number(tag: number): number | undefined {
    const body = this.#found.get(tag);
    return body && Number(body.readBigUInt64LE());
  }

  string(tag: number): string | undefined {
    return this.#found.get(tag)?.toString();
  }
}
