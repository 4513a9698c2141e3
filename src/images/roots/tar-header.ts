import { VmError } from '../../errors.ts';

/** Bytes of a header, and of the unit in which tar archives are written. */
export const tarBlock = 512;

/** A header of a tar archive, as it stands there: GNU and pax names and sizes are not taken in yet. Text is bytes (latin1). */
export interface TarHeader {
  path: string;
  type: string;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: number;
  target: string;
}

/**
 * Reads a header; undefined for a block of zeros, which ends an archive.
 * @throws {VmError} IMAGE_INVALID when it is none
 */
export function parseHeader(block: Buffer): TarHeader | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  let sum = 8 * 0x20;
  for (let at = 0; at < tarBlock; at++) if (at < 148 || at >= 156) sum += block[at] ?? 0;
  if (numberAt(block, 148, 8) !== sum) throw damaged('a header has a wrong checksum');
  const magic = block.toString('latin1', 257, 263);
  const prefix = magic === 'ustar\0' ? textAt(block, 345, 155) : '';
  const name = textAt(block, 0, 100);
  return {
    path: prefix === '' ? name : `${prefix}/${name}`,
    type: block.toString('latin1', 156, 157),
    mode: numberAt(block, 100, 8) & 0o7777,
    uid: numberAt(block, 108, 8),
    gid: numberAt(block, 116, 8),
    size: numberAt(block, 124, 12),
    mtime: numberAt(block, 136, 12),
    target: textAt(block, 157, 100),
  };
}

/**
 * Reads the records of a pax header: `LENGTH KEY=VALUE\n` each (pax(1), "pax Extended Header").
 * @throws {VmError} IMAGE_INVALID
 */
export function parsePax(data: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < data.length;) {
    const blank = data.indexOf(0x20, at);
    const length = blank < 0 ? Number.NaN : Number(data.toString('latin1', at, blank));
    const end = at + length;
    const equals = data.indexOf(0x3d, blank);
    if (!Number.isInteger(length) || end > data.length || equals < 0 || equals >= end || data[end - 1] !== 0x0a)
      throw damaged('an extended header is damaged');
    records.set(data.toString('latin1', blank + 1, equals), data.subarray(equals + 1, end - 1));
    at = end;
  }
  return records;
}

/** A number of a pax record: decimal, perhaps with a fraction, which is dropped. @throws {VmError} IMAGE_INVALID */
export function paxNumber(value: Buffer): number {
  const number = Math.floor(Number(value.toString('latin1')));
  if (!Number.isSafeInteger(number)) throw damaged('an extended header holds no number where one is needed');
  return number;
}

/** The error of an archive that can't be read. */
export function damaged(problem: string): VmError {
  return new VmError('IMAGE_INVALID', `the tar archive is damaged: ${problem}`);
}

function textAt(block: Buffer, offset: number, length: number): string {
  const field = block.toString('latin1', offset, offset + length);
  const end = field.indexOf('\0');
  return end < 0 ? field : field.slice(0, end);
}

/** Octal digits; or, where the first bit is set, a number in base 256 (GNU tar). */
function numberAt(block: Buffer, offset: number, length: number): number {
  const field = block.subarray(offset, offset + length);
  const first = field[0] ?? 0;
  if (first === 0xff) return Number(BigInt.asIntN(64, field.readBigUInt64BE(length - 8)));
  if (first === 0x80) {
    const value = length === 8 ? field.readUIntBE(2, 6) : Number(field.readBigUInt64BE(length - 8));
    if (!Number.isSafeInteger(value)) throw damaged('a number is too large');
    return value;
  }
  const digits = field
    .toString('latin1')
    .replace(/[\0 ].*$/s, (rest) => (/^[\0 ]*$/.test(rest) ? '' : rest))
    .trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw damaged('a header holds no number where one is needed');
  return Number.parseInt(digits, 8);
}
