import { gunzipSync } from 'node:zlib';
import { VmError } from '../errors.ts';
import { elfLength, isElf64 } from './elf.ts';
import { isLegacyLz4, unpackLegacyLz4 } from './lz4.ts';

/** Most bytes that a kernel may take unpacked. */
const maxKernel = 512 << 20;

/**
 * The uncompressed ELF kernel inside an x86 bzImage. VMMs enter it directly: under emulation this saves unpacking it in the guest, and older
 * Firecrackers take nothing else.
 * @returns undefined when the file is not a bzImage, or is packed by a method other than LZ4 and gzip
 * @throws {VmError} FILE_INVALID when the packed kernel is broken
 */
export function unpackKernel(image: Buffer): Buffer | undefined {
  const unpacked = unpack(kernelPayload(image));
  return unpacked === undefined ? undefined : elfKernel(unpacked);
}

/**
 * The packed kernel inside an x86 bzImage (Linux' Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length); its unpacked
 * length, in 4 bytes, stands behind it.
 * @returns undefined when the file is not a bzImage
 * @throws {VmError} FILE_INVALID when it is cut off
 */
export function kernelPayload(image: Buffer): Buffer | undefined {
  if (image.length < 0x260 || image.toString('latin1', 0x202, 0x206) !== 'HdrS' || image.readUInt16LE(0x206) < 0x0208)
    return undefined;
  const setupSectors = image[0x1f1] || 4;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  const length = image.readUInt32LE(0x24c);
  if (length < 8 || start + length > image.length) throw new VmError('FILE_INVALID', 'the kernel image is cut off');
  return image.subarray(start, start + length);
}

/** The ELF kernel that was unpacked. @throws {VmError} FILE_INVALID when it is none */
export function elfKernel(unpacked: Buffer): Buffer {
  if (!isElf64(unpacked)) throw new VmError('FILE_INVALID', 'the kernel image holds no ELF kernel');
  // Behind the ELF file are relocations for the image's own loader.
  return unpacked.subarray(0, elfLength(unpacked));
}

/** Its length is in its own end. */
function gunzipped(payload: Buffer): Buffer {
  try {
    return gunzipSync(payload, { maxOutputLength: maxKernel });
  } catch (cause) {
    throw new VmError('FILE_INVALID', "the kernel image can't be unpacked", { cause });
  }
}

function unpack(payload: Buffer | undefined): Buffer | undefined {
  if (payload === undefined) return undefined;
  if (payload.readUInt16BE(0) === 0x1f8b) return gunzipped(payload);
  if (!isLegacyLz4(payload)) return undefined;
  // The length unpacked follows the packed kernel.
  const size = payload.readUInt32LE(payload.length - 4);
  if (size > maxKernel) throw new VmError('FILE_INVALID', `the kernel would take ${size} bytes`);
  return unpackLegacyLz4(payload, size);
}
