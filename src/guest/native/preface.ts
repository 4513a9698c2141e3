import { randomBytes } from 'node:crypto';
import { encodeFrame } from './frames.ts';
import { FieldWriter } from './fields.ts';
import { FrameType, MAGIC, MAX_STALE_BYTES, NONCE_BYTES, PADDING_BYTES, PROTOCOL_VERSION, Tag } from './wire.ts';
import { violation } from './violation.ts';

/** The 24 bytes that open a session; new each time, so that nothing sent earlier can imitate their echo. */
export function newPreface(): Buffer {
  return Buffer.concat([MAGIC, randomBytes(NONCE_BYTES)]);
}

/**
 * What the host writes first.
 * @param showsHangup false: padding goes ahead, as a former client's half-sent frame may still stand in the channel
 */
export function opening(preface: Buffer, showsHangup: boolean): Buffer {
  const hello = encodeFrame(FrameType.HELLO, 0, new FieldWriter().int(Tag.VERSION, PROTOCOL_VERSION).finish());
  return Buffer.concat([Buffer.alloc(showsHangup ? 0 : PADDING_BYTES), preface, hello]);
}

/** Drops what was meant for a former client, up to and with the echo of the preface. Keeps at most 23 bytes. */
export class PrefaceFinder {
  readonly #preface: Buffer;
  readonly #limit: number;
  #tail: Buffer = Buffer.alloc(0);
  #dropped = 0;

  constructor(preface: Buffer, limit: number = MAX_STALE_BYTES) {
    this.#preface = preface;
    this.#limit = limit;
  }

  /**
   * What follows the echo, once it has come.
   * @throws {VmError} AGENT_PROTOCOL when more than 16 MiB came without it
   */
  push(chunk: Buffer): Buffer | undefined {
    const inside = chunk.indexOf(this.#preface);
    const keep = this.#preface.length - 1;
    // An echo that begins in the last chunk ends within the first 23 bytes of this one.
    const seam = Buffer.concat([this.#tail, chunk.subarray(0, keep)]);
    const across = seam.indexOf(this.#preface);
    if (across >= 0) {
      this.#count(across);
      return chunk.subarray(across + this.#preface.length - this.#tail.length);
    }
    if (inside >= 0) {
      this.#count(this.#tail.length + inside);
      return chunk.subarray(inside + this.#preface.length);
    }
    const all = chunk.length >= keep ? chunk : seam;
    const tail = Buffer.from(all.subarray(Math.max(0, all.length - keep)));
    this.#count(this.#tail.length + chunk.length - tail.length);
    this.#tail = tail;
    return undefined;
  }

  #count(bytes: number): void {
    this.#dropped += bytes;
    if (this.#dropped > this.#limit) throw violation(`no echo of the preface within ${this.#limit} bytes`);
  }
}
