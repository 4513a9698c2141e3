import { VmError } from '../errors.ts';

/** A section of an ELF file; `data` shares the file's memory. */
export interface ElfSection {
  name: string;
  data: Buffer;
}

/** True when the bytes begin like a 64-bit little-endian ELF file. */
export function isElf64(file: Buffer): boolean {
  return file.length >= 64 && file.readUInt32BE(0) === 0x7f454c46 && file[4] === 2 && file[5] === 1;
}

/** Whether a program needs no interpreter, and so no library (elf(5), PT_INTERP). */
export function isStaticProgram(file: Buffer): boolean {
  if (!isElf64(file)) return false;
  const [start, size, count] = [Number(file.readBigUInt64LE(32)), file.readUInt16LE(54), file.readUInt16LE(56)];
  if (size < 56 || start + count * size > file.length) return false;
  const types = Array.from({ length: count }, (_, index) => file.readUInt32LE(start + index * size));
  return types.length > 0 && !types.includes(interpreter);
}

/**
 * The sections of a 64-bit little-endian ELF file that take space in it (elf(5)).
 * @throws {VmError} FILE_INVALID when it is no such file
 */
export function elfSections(file: Buffer): ElfSection[] {
  const table = sectionTable(file);
  const names = slice(file, table.at(tableIndex(file)));
  return table
    .filter(({ type }) => type !== noBits)
    .map((entry) => ({ name: text(names, entry.name), data: slice(file, entry) }));
}

/**
 * Length of an ELF file by its own headers, without what was appended to it.
 * @throws {VmError} FILE_INVALID when it is no 64-bit little-endian ELF file
 */
export function elfLength(file: Buffer): number {
  const table = sectionTable(file);
  const ends = table.filter(({ type }) => type !== noBits).map(({ offset, size }) => offset + size);
  const length = Math.max(...ends, Number(file.readBigUInt64LE(40)) + table.length * file.readUInt16LE(58));
  if (length > file.length) throw invalid('is cut off');
  return length;
}

interface SectionHeader {
  name: number;
  type: number;
  offset: number;
  size: number;
}

const noBits = 8;
const interpreter = 3;

function sectionTable(file: Buffer): SectionHeader[] {
  if (!isElf64(file)) throw invalid('is not a 64-bit little-endian ELF file');
  const start = Number(file.readBigUInt64LE(40));
  const entrySize = file.readUInt16LE(58);
  const count = file.readUInt16LE(60);
  if (count === 0 || entrySize < 64 || start + count * entrySize > file.length) throw invalid('has no sections');
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * entrySize;
    return {
      name: file.readUInt32LE(at),
      type: file.readUInt32LE(at + 4),
      offset: Number(file.readBigUInt64LE(at + 24)),
      size: Number(file.readBigUInt64LE(at + 32)),
    };
  });
}

function tableIndex(file: Buffer): number {
  return file.readUInt16LE(62);
}

function slice(file: Buffer, entry: SectionHeader | undefined): Buffer {
  if (entry === undefined || entry.offset + entry.size > file.length) throw invalid('has a section outside of it');
  return file.subarray(entry.offset, entry.offset + entry.size);
}

function text(table: Buffer, offset: number): string {
  const end = table.indexOf(0, offset);
  if (offset >= table.length || end < 0) throw invalid('has a section without a name');
  return table.toString('latin1', offset, end);
}

function invalid(what: string): VmError {
  return new VmError('FILE_INVALID', `the file ${what}`);
}
