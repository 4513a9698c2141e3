import { VmError } from '../../errors.ts';
import { BLOCK_BYTES, checksumOf, paddingOf, TYPE_FLAGS, type TarEntry } from './entry.ts';

/** Longest pax header that is taken, in bytes: two names of Linux' longest, and some numbers. */
const MAX_PAX_BYTES = 16_384;
const MAX_NAME_BYTES = 4095;
const MAX_ID = 0xffff_fffe;
const SECOND_NS = 1_000_000_000n;

/** What a piece of an archive holds, in order: an entry, the bytes of its body, its end. */
export type TarEvent = { entry: TarEntry } | { data: Buffer } | 'end';

/**
 * Reads an archive that nobody vouches for, in pieces of any size: ustar with pax headers, files, folders and links, and nothing
 * else. Holds at most one block and one pax header.
 */
export class TarReader {
  #state: 'header' | 'pax' | 'body' | 'padding' | 'over' = 'header';
  #zeroBlocks = 0;
  /** bytes of the body or the padding still to come */
  #left = 0;
  #entry: TarEntry | undefined;
  #overrides: Partial<TarEntry> = {};
  #hasPax = false;
  /** a block or a pax header that is put together */
  #parts: Buffer[] = [];
  #have = 0;
  #want = BLOCK_BYTES;
  #paxBytes = 0;

  /**
   * What the next piece holds. Bodies are slices of it.
   * @throws {VmError} ARCHIVE_INVALID; the reader is of no use afterwards
   */
  push(chunk: Buffer): TarEvent[] {
    const events: TarEvent[] = [];
    let at = 0;
    while (at < chunk.length && this.#state !== 'over') {
      const end = Math.min(chunk.length, at + (this.#collects ? this.#want - this.#have : this.#left));
      const piece = chunk.subarray(at, end);
      at = end;
      if (this.#collects) this.#collect(piece, events);
      else this.#pass(piece, events);
    }
    return events;
  }

  /** @throws {VmError} ARCHIVE_INVALID unless the archive has ended as it should */
  finish(): void {
    if (this.#state !== 'over') throw archiveError('it is cut short');
  }

  get #collects(): boolean {
    return this.#state === 'header' || this.#state === 'pax';
  }

  #collect(piece: Buffer, events: TarEvent[]): void {
    this.#parts.push(piece);
    this.#have += piece.length;
    if (this.#have < this.#want) return;
    const whole = this.#parts.length === 1 ? piece : Buffer.concat(this.#parts);
    const state = this.#state;
    this.#expect('header', BLOCK_BYTES);
    if (state === 'pax') this.#takePax(whole.subarray(0, this.#paxBytes));
    else this.#takeHeader(whole, events);
  }

  #expect(state: 'header' | 'pax', bytes: number): void {
    this.#state = state;
    this.#parts = [];
    this.#have = 0;
    this.#want = bytes;
  }

  /** Bytes of a body, or of the padding after it. */
  #pass(piece: Buffer, events: TarEvent[]): void {
    this.#left -= piece.length;
    if (this.#state === 'body') {
      events.push({ data: piece });
      if (this.#left === 0) this.#endEntry(events);
    } else if (this.#left === 0) {
      this.#expect('header', BLOCK_BYTES);
    }
  }

  #endEntry(events: TarEvent[]): void {
    events.push('end');
    this.#left = paddingOf(this.#entry?.size ?? 0);
    if (this.#left > 0) this.#state = 'padding';
    else this.#expect('header', BLOCK_BYTES);
  }

  #takeHeader(block: Buffer, events: TarEvent[]): void {
    if (block.every((byte) => byte === 0)) {
      if (this.#hasPax) throw archiveError('it ends after a pax header');
      this.#zeroBlocks += 1;
      if (this.#zeroBlocks === 2) this.#state = 'over';
      return;
    }
    if (this.#zeroBlocks > 0) throw archiveError('an entry follows its end');
    if (octal(block, 148, 8, 'checksum') !== checksumOf(block)) throw archiveError("a header's checksum is wrong");
    if (block.toString('latin1', 257, 265) !== 'ustar\u000000')
      throw archiveError('a header is not of the format ustar');
    const flag = String.fromCharCode(block[156] as number);
    if (flag === 'x') this.#beginPax(octal(block, 124, 12, 'size'));
    else this.#beginEntry(block, flag, events);
  }

  #beginPax(bytes: number): void {
    if (this.#hasPax) throw archiveError('a pax header follows another');
    if (bytes === 0 || bytes > MAX_PAX_BYTES) throw archiveError(`a pax header has ${bytes} bytes`);
    this.#hasPax = true;
    this.#paxBytes = bytes;
    this.#expect('pax', bytes + paddingOf(bytes));
  }

  #beginEntry(block: Buffer, flag: string, events: TarEvent[]): void {
    const entry = { ...plainEntry(block, flag), ...this.#overrides };
    this.#overrides = {};
    this.#hasPax = false;
    checkEntry(entry);
    this.#entry = entry;
    events.push({ entry });
    this.#left = entry.size;
    if (entry.size > 0) this.#state = 'body';
    else this.#endEntry(events);
  }

  #takePax(records: Buffer): void {
    for (let at = 0; at < records.length;) {
      const blank = records.indexOf(32, at);
      const digits = records.toString('latin1', at, blank < 0 ? at : blank);
      const end = at + Number(digits);
      const equals = records.indexOf(61, blank);
      const wellFormed = /^[1-9]\d{0,4}$/.test(digits) && end <= records.length && records[end - 1] === 10;
      if (!wellFormed || equals < 0 || equals >= end) throw archiveError('a pax header is malformed');
      this.#override(records.toString('latin1', blank + 1, equals), records.subarray(equals + 1, end - 1));
      at = end;
    }
  }

  #override(key: string, value: Buffer): void {
    const o = this.#overrides;
    if (key === 'path') o.name = Buffer.from(value);
    else if (key === 'linkpath') o.link = Buffer.from(value);
    else if (key === 'size') o.size = decimal(value, Number.MAX_SAFE_INTEGER, key);
    else if (key === 'uid' || key === 'gid') o[key] = decimal(value, MAX_ID, key);
    else if (key === 'mtime') o.mtimeNs = time(value);
    else throw archiveError(`a pax header has a field that is not expected: ${JSON.stringify(key.slice(0, 40))}`);
  }
}

/** ARCHIVE_INVALID, with what is wrong with the archive. */
export function archiveError(problem: string): VmError {
  return new VmError('ARCHIVE_INVALID', `the archive from the guest was refused: ${problem}`);
}

function plainEntry(block: Buffer, flag: string): TarEntry {
  const type = Object.entries(TYPE_FLAGS).find(([, it]) => it === flag)?.[0] as TarEntry['type'] | undefined;
  if (type === undefined) {
    const special = ['3', '4', '6'].includes(flag);
    throw archiveError(special ? 'an entry is a device or a fifo' : `an entry is of the type ${JSON.stringify(flag)}`);
  }
  return {
    type,
    name: text(block, 0, 100),
    link: text(block, 157, 100),
    mode: octal(block, 100, 8, 'mode'),
    uid: octal(block, 108, 8, 'owner'),
    gid: octal(block, 116, 8, 'group'),
    size: octal(block, 124, 12, 'size'),
    mtimeNs: BigInt(octal(block, 136, 12, 'time')) * SECOND_NS,
  };
}

function checkEntry({ type, name, link, mode, size }: TarEntry): void {
  const isLink = type === 'symlink' || type === 'hardlink';
  for (const [what, value] of [
    ['name', name],
    ['link', link],
  ] as const) {
    if (value.length > MAX_NAME_BYTES) throw archiveError(`a ${what} has ${value.length} bytes`);
    if (value.some((byte) => byte < 32 || byte === 127)) throw archiveError(`a ${what} holds a control character`);
  }
  if (name.length === 0) throw archiveError('an entry has no name');
  if (isLink !== link.length > 0)
    throw archiveError(isLink ? 'a link points to nothing' : 'an entry has a link but is none');
  if (mode > 0o7777) throw archiveError('a mode is out of its range');
  if (type !== 'file' && size > 0) throw archiveError('a folder or a link has a size');
}

/** Up to the first NUL. What follows must be NULs: nothing is hidden behind a name. */
function text(block: Buffer, at: number, bytes: number): Buffer {
  const field = block.subarray(at, at + bytes);
  const nul = field.indexOf(0);
  if (nul < 0) return Buffer.from(field);
  if (field.subarray(nul).some((byte) => byte !== 0)) throw archiveError('a name holds a NUL byte');
  return Buffer.from(field.subarray(0, nul));
}

function octal(block: Buffer, at: number, bytes: number, what: string): number {
  const digits = /^([0-7]+)[\0 ]*$/.exec(block.toString('latin1', at, at + bytes))?.[1];
  if (digits === undefined) throw archiveError(`a ${what} is not a number`);
  return Number.parseInt(digits, 8);
}

function decimal(value: Buffer, max: number, what: string): number {
  const digits = value.toString('latin1');
  const number = Number(digits);
  if (!/^\d{1,16}$/.test(digits) || number > max) throw archiveError(`a ${what} is out of its range`);
  return number;
}

function time(value: Buffer): bigint {
  const [, sign, seconds, fraction = ''] = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?$/.exec(value.toString('latin1')) ?? [];
  if (seconds === undefined) throw archiveError('a time is not a number');
  const ns = BigInt(seconds) * SECOND_NS + BigInt(fraction.padEnd(9, '0'));
  return sign === '-' ? -ns : ns;
}
