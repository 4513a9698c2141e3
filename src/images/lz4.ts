import { VmError } from '../errors.ts';

const legacyMagic = 0x184c2102;

/** True when the bytes begin with a "legacy" LZ4 frame, the one that kernel images are packed with. */
export function isLegacyLz4(packed: Buffer): boolean {
  return packed.length >= 8 && packed.readUInt32LE(0) === legacyMagic;
}

/**
 * Unpacks a legacy LZ4 frame: the magic, then blocks of at most 8 MiB unpacked, each behind its packed length (LZ4's frame format
 * description, section "Legacy frame"; the blocks themselves are in its block format description).
 * @param size length of the result in bytes
 * @throws {VmError} FILE_INVALID when the frame is broken or does not give that many bytes
 */
export function unpackLegacyLz4(packed: Buffer, size: number): Buffer {
  const out = Buffer.allocUnsafe(size);
  let at = 4;
  let written = 0;
  while (written < size) {
    if (at + 4 > packed.length) throw broken();
    const length = packed.readUInt32LE(at);
    at += 4;
    if (length === 0 || at + length > packed.length) throw broken();
    written = unpackBlock(packed.subarray(at, at + length), out, written);
    at += length;
  }
  return out;
}

/** Unpacks one block to `start`; returns where it ended. */
function unpackBlock(block: Buffer, out: Buffer, start: number): number {
  let at = 0;
  let to = start;
  const lengthAbove = (base: number): number => {
    let length = base;
    if (base !== 15) return length;
    for (;;) {
      const more = block[at++];
      if (more === undefined) throw broken();
      length += more;
      if (more !== 255) return length;
    }
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = lengthAbove(token >> 4);
    if (at + literals > block.length || to + literals > out.length) throw broken();
    block.copy(out, to, at, at + literals);
    at += literals;
    to += literals;
    if (at === block.length) return to;
    if (at + 2 > block.length) throw broken();
    const distance = block.readUInt16LE(at);
    at += 2;
    const length = lengthAbove(token & 15) + 4;
    if (distance === 0 || distance > to - start || to + length > out.length) throw broken();
    copyWithin(out, to, distance, length);
    to += length;
  }
  return to;
}

/** A match may overlap what it writes: then it repeats the last `distance` bytes. */
function copyWithin(out: Buffer, to: number, distance: number, length: number): void {
  if (distance >= length) out.copyWithin(to, to - distance, to - distance + length);
  else if (distance === 1) out.fill(out[to - 1] ?? 0, to, to + length);
  else for (let index = 0; index < length; index++) out[to + index] = out[to + index - distance] ?? 0;
}

function broken(): VmError {
  return new VmError('FILE_INVALID', 'the LZ4 data is broken');
}
