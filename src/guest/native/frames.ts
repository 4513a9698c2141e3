import { FrameType, HEADER_BYTES, MAX_PAYLOAD, SYNC, type Channel } from './wire.ts';
import { violation } from './violation.ts';

export interface Frame {
  type: FrameType;
  stream: number;
  /** may share memory with the chunk it came in */
  payload: Buffer;
}

const KNOWN: ReadonlySet<number> = new Set(Object.values(FrameType));
const EMPTY = Buffer.alloc(0);

/** One frame as bytes. The payload must not be above 65,536 bytes; that is the caller's business. */
export function encodeFrame(type: FrameType, stream: number, payload: Uint8Array = EMPTY): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  writeHeader(frame, type, stream, payload.length);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** All of a DATA frame but its bytes, so that these need no copy. */
export function encodeDataHeader(stream: number, channel: Channel, length: number): Buffer {
  const header = Buffer.allocUnsafe(HEADER_BYTES + 1);
  writeHeader(header, FrameType.DATA, stream, length + 1);
  header[HEADER_BYTES] = channel;
  return header;
}

export function encodeCredit(stream: number, channel: Channel, bytes: number): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + 5);
  writeHeader(frame, FrameType.CREDIT, stream, 5);
  frame[HEADER_BYTES] = channel;
  frame.writeUInt32LE(bytes, HEADER_BYTES + 1);
  return frame;
}

function writeHeader(frame: Buffer, type: FrameType, stream: number, length: number): void {
  frame[0] = SYNC;
  frame[1] = type;
  frame.writeUInt16LE(0, 2);
  frame.writeUInt32LE(stream, 4);
  frame.writeUInt32LE(length, 8);
}

/**
 * Cuts a byte stream into frames, however it is split. Holds at most one header and one payload. A payload that lies in one
 * chunk is a slice of it; only one that spans chunks is copied.
 */
export class FrameDecoder {
  readonly #onFrame: (frame: Frame) => void;
  readonly #header: Buffer = Buffer.alloc(HEADER_BYTES);
  #headerFill = 0;
  #payload: Buffer | undefined;
  #payloadFill = 0;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  /** @throws {VmError} AGENT_PROTOCOL when the bytes are no frames; the decoder is of no use afterwards */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payload !== undefined) at = this.#fillPayload(chunk, at);
      else if (this.#headerFill === 0 && chunk[at] === 0) at += 1;
      else at = this.#fillHeader(chunk, at);
    }
  }

  #fillHeader(chunk: Buffer, at: number): number {
    // The first byte is judged when it comes: garbage must not wait for eleven more.
    if (this.#headerFill === 0 && chunk[at] !== SYNC) throw violation('a frame begins with a wrong byte');
    let next = at;
    let header = chunk;
    let base = at;
    if (this.#headerFill === 0 && chunk.length - at >= HEADER_BYTES) {
      next = at + HEADER_BYTES;
    } else {
      const copied = chunk.copy(this.#header, this.#headerFill, at, at + HEADER_BYTES - this.#headerFill);
      this.#headerFill += copied;
      next = at + copied;
      if (this.#headerFill < HEADER_BYTES) return next;
      header = this.#header;
      base = 0;
    }
    const length = checkHeader(header, base);
    if (chunk.length - next >= length) {
      this.#emit(header, base, chunk.subarray(next, next + length));
      return next + length;
    }
    if (header === chunk) header.copy(this.#header, 0, base, base + HEADER_BYTES);
    this.#headerFill = HEADER_BYTES;
    this.#payload = Buffer.allocUnsafeSlow(length);
    this.#payloadFill = chunk.copy(this.#payload, 0, next);
    return chunk.length;
  }

  #fillPayload(chunk: Buffer, at: number): number {
    const payload = this.#payload as Buffer;
    const copied = chunk.copy(payload, this.#payloadFill, at);
    this.#payloadFill += copied;
    if (this.#payloadFill === payload.length) {
      this.#payload = undefined;
      this.#emit(this.#header, 0, payload);
    }
    return at + copied;
  }

  #emit(header: Buffer, base: number, payload: Buffer): void {
    this.#headerFill = 0;
    this.#onFrame({ type: header[base + 1] as FrameType, stream: header.readUInt32LE(base + 4), payload });
  }
}

/** The payload's length. */
function checkHeader(header: Buffer, base: number): number {
  const type = header[base + 1] as number;
  if (!KNOWN.has(type)) throw violation(`frame of unknown type 0x${type.toString(16)}`);
  if (header.readUInt16LE(base + 2) !== 0) throw violation("a frame's reserved bytes are not 0");
  const length = header.readUInt32LE(base + 8);
  if (length > MAX_PAYLOAD) throw violation(`a frame of ${length} bytes`);
  return length;
}
