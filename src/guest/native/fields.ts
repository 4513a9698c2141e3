import { Tag } from './wire.ts';
import { violation } from './violation.ts';

const FIELD_HEADER_BYTES = 8;
const KNOWN: ReadonlySet<number> = new Set(Object.values(Tag));
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Builds a payload of fields. */
export class FieldWriter {
  readonly #parts: Buffer[] = [];
  #length = 0;

  /** bytes so far */
  get length(): number {
    return this.#length;
  }

  int(tag: Tag, value: number | bigint): this {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return this.bytes(tag, bytes);
  }

  text(tag: Tag, value: string): this {
    return this.bytes(tag, Buffer.from(value, 'utf8'));
  }

  bytes(tag: Tag, value: Uint8Array): this {
    const header = Buffer.allocUnsafe(FIELD_HEADER_BYTES);
    header.writeUInt16LE(tag, 0);
    header.writeUInt16LE(0, 2);
    header.writeUInt32LE(value.length, 4);
    this.#parts.push(header, Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    this.#length += FIELD_HEADER_BYTES + value.length;
    return this;
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }
}

/** The fields of one answer. Unknown tags are skipped; all else that is wrong is AGENT_PROTOCOL. */
export class Fields {
  readonly #values = new Map<number, Buffer>();

  constructor(payload: Buffer) {
    let at = 0;
    while (at < payload.length) {
      if (payload.length - at < FIELD_HEADER_BYTES) throw violation('a field is cut short');
      const tag = payload.readUInt16LE(at);
      if (payload.readUInt16LE(at + 2) !== 0) throw violation("a field's reserved bytes are not 0");
      const length = payload.readUInt32LE(at + 4);
      at += FIELD_HEADER_BYTES;
      if (length > payload.length - at) throw violation('a field is longer than its frame');
      if (KNOWN.has(tag)) {
        if (this.#values.has(tag)) throw violation(`field ${tag} comes twice`);
        this.#values.set(tag, payload.subarray(at, at + length));
      }
      at += length;
    }
  }

  has(tag: Tag): boolean {
    return this.#values.has(tag);
  }

  /** An integer from min to max. */
  int(tag: Tag, min: number = 0, max: number = Number.MAX_SAFE_INTEGER): number {
    const bytes = this.#get(tag);
    if (bytes.length !== 8) throw violation(`field ${tag} is not an integer`);
    const value = bytes.readBigUInt64LE();
    if (value < BigInt(min) || value > BigInt(max)) throw violation(`field ${tag} is out of its range`);
    return Number(value);
  }

  /** Whether an optional integer is there and is 1; 0 is as if it were not there. */
  flag(tag: Tag): boolean {
    return this.has(tag) && this.int(tag, 0, 1) === 1;
  }

  /** A string of at most `limit` bytes. */
  text(tag: Tag, limit: number): string {
    const bytes = this.#bounded(tag, limit);
    try {
      return strict.decode(bytes);
    } catch (error) {
      throw violation(`field ${tag} is not UTF-8`, error);
    }
  }

  /** A string that is for people only: a character cut in two is no reason to end a session. '' when it is not there. */
  message(tag: Tag, limit: number): string {
    return this.has(tag) ? this.#bounded(tag, limit).toString('utf8') : '';
  }

  #bounded(tag: Tag, limit: number): Buffer {
    const bytes = this.#get(tag);
    if (bytes.length > limit) throw violation(`field ${tag} has ${bytes.length} bytes, above ${limit}`);
    if (bytes.includes(0)) throw violation(`field ${tag} holds a NUL byte`);
    return bytes;
  }

  #get(tag: Tag): Buffer {
    const bytes = this.#values.get(tag);
    if (bytes === undefined) throw violation(`field ${tag} is missing`);
    return bytes;
  }
}
