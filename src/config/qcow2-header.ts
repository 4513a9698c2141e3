import { type FileHandle, open } from 'node:fs/promises';
import { VmError } from '../errors.ts';

/** Bytes of a version 3 header as far as it is looked at (docs/interop/qcow2.txt in QEMU's sources). */
const headerBytes = 104;
/** "QFI\xfb" */
const magic = 0x514649fb;
/** incompatible_features: the guest's data is in another file, which the image names */
const externalData = 1 << 2;

/**
 * Makes sure that a qcow2 image leads to no file that the caller did not name: an image may name any file of the host as the one it
 * builds on, or as the one that holds its data, and the VMM would open it.
 * @param backing whether the caller names the file that the image builds on
 * @throws {VmError} FILE_INVALID
 */
export async function checkQcow2(file: FileHandle, path: string, backing: boolean): Promise<void> {
  const { buffer: header, bytesRead } = await file.read(Buffer.alloc(headerBytes), 0, headerBytes, 0);
  const version = bytesRead < 72 || header.readUInt32BE(0) !== magic ? 0 : header.readUInt32BE(4);
  const refuse = (problem: string, advice?: string): VmError =>
    new VmError('FILE_INVALID', `${path} ${problem}`, { path, ...(advice === undefined ? {} : { advice }) });
  if (version !== 2 && version !== 3) throw refuse('is no qcow2 image', 'Give its real format.');
  if (version === 3 && (header.readUInt32BE(76) & externalData) !== 0)
    throw refuse('keeps its data in another file', 'Convert it: `qemu-img convert -O qcow2 OLD NEW`.');
  const names = header.readBigUInt64BE(8) !== 0n;
  if (names && !backing) {
    const advice =
      'Name that file with `backing`, if you trust the image; or convert it: `qemu-img convert -O qcow2 OLD NEW`.';
    throw refuse('builds on another file of the host', advice);
  }
  if (!names && backing) throw refuse('builds on no other file', 'Leave `backing` out.');
}

/** What a qcow2 image may grow to, in bytes: all that the guest sees of it, and as much again for its tables as QEMU could ever need. */
export async function virtualBytes(path: string): Promise<number> {
  const file = await open(path, 'r');
  try {
    const { buffer } = await file.read(Buffer.alloc(headerBytes), 0, headerBytes, 0);
    const size = Number(buffer.readBigUInt64BE(24));
    // Tables take a hundredth at most with clusters of 4 KiB; a small image has a few clusters of up to 2 MiB each.
    return size + Math.ceil(size / 16) + (64 << 20);
  } finally {
    await file.close();
  }
}
