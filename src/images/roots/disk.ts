import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import path from 'node:path';
import { checkQcow2 } from '../../config/qcow2-header.ts';
import { VmError } from '../../errors.ts';
import { runTool } from '../host-tool.ts';
import type { FileRecord } from '../image.ts';
import { diskHeadBytes, fileSystemOf, hasPartitions, isQcow2, needsRecovery } from './disk-type.ts';
import { hostError } from './host-error.ts';
import { rootPartition } from './partitions.ts';
import type { RangeReader } from './range-reader.ts';
import { rootSizeUnit, type RootType } from './root-image.ts';
import { readHead } from './spool.ts';
import type { FileRange } from './tree.ts';

/** The file that a qcow2 disk builds on, as whoever trusts it names it. */
export interface BackingFile {
  path: string;
  format: 'raw' | 'qcow2';
}

/** How a disk is read. */
export interface DiskOptions {
  reader: RangeReader;
  /** folder for what is made on the way */
  scratch: string;
  /** number of a partition */
  ref?: string | undefined;
  backing?: BackingFile | undefined;
  /** bytes of the file system at most */
  maxBytes: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

const pieceBytes = 1 << 20;
const convertMs = 3_600_000;

/** Whether a file that begins so is a disk. */
export function isDisk(head: Buffer): boolean {
  return isQcow2(head) || fileSystemOf(head) !== undefined || hasPartitions(head);
}

/**
 * Copies the root file system of a disk, raw or qcow2, with partitions or without, into a new file. Long runs of zeros take no room.
 * @throws {VmError} FILE_INVALID for a qcow2 disk that leads to a file that nobody named; IMAGE_INVALID, INVALID_ARGUMENT when several partitions
 *   could be meant; HOST_MISSING without qemu-img; FILE_UNREADABLE, IO, ABORTED
 */
export async function takeDisk(
  source: FileRange,
  target: string,
  options: DiskOptions,
): Promise<FileRecord & { type: RootType }> {
  const { backing, ref, maxBytes } = options;
  const shown = source.file;
  const packed = isQcow2(await readHead(source, diskHeadBytes));
  if (!packed && backing !== undefined)
    throw new VmError('INVALID_ARGUMENT', `${shown} is raw, and builds on no other file`, { field: 'backing' });
  const disk = packed ? await unpackQcow2(source, options) : source;
  const head = await readHead(disk, diskHeadBytes);
  const whole = fileSystemOf(head) !== undefined;
  if (!whole && !hasPartitions(head))
    throw new VmError('IMAGE_INVALID', `${shown} holds no file system that a guest has a driver for`, {
      path: shown,
      advice: 'It must be ext4, squashfs or erofs.',
    });
  if (whole && ref !== undefined)
    throw new VmError('INVALID_ARGUMENT', `${shown} holds one file system and no partitions`, { field: 'ref' });
  const root = whole ? disk : await rootPartition(disk, shown, ref);
  const rootHead = await readHead(root, diskHeadBytes);
  const type = fileSystemOf(rootHead);
  if (type === undefined) throw new VmError('IMAGE_INVALID', `${shown} has changed meanwhile`, { path: shown });
  if (needsRecovery(rootHead))
    throw new VmError('IMAGE_INVALID', `the file system of ${shown} was in use when it was copied`, {
      path: shown,
      advice: 'Check it: `e2fsck -p` (of a partition through `losetup -P`), or copy it after it is unmounted.',
    });
  if (root.size > maxBytes)
    throw new VmError('IMAGE_INVALID', `the file system of ${shown} has ${root.size} bytes, over ${maxBytes}`, {
      path: shown,
      advice: 'Allow more with `maxBytes` (`--max-size`).',
    });
  return { ...(await copySparsely(root, target, options)), type };
}

/** qemu-img opens what we name and nothing else: formats are given, and so is that there is no backing file. */
async function unpackQcow2(source: FileRange, { scratch, backing, maxBytes, signal }: DiskOptions): Promise<FileRange> {
  await checked(source.file, backing !== undefined, maxBytes);
  if (backing?.format === 'qcow2') await checked(backing.path, false, maxBytes);
  const node = (file: string, format: string): Record<string, unknown> => ({
    driver: format,
    file: { driver: 'file', filename: file },
  });
  const below =
    backing === undefined
      ? null
      : { ...node(backing.path, backing.format), ...(backing.format === 'qcow2' ? { backing: null } : {}) };
  const target = path.join(scratch, 'disk.raw');
  const spec = `json:${JSON.stringify({ ...node(source.file, 'qcow2'), backing: below })}`;
  const { exitCode, errors } = await runTool('qemu-img', ['convert', '-O', 'raw', spec, target], {
    signal,
    timeoutMs: convertMs,
    advice: 'Install the package qemu-utils, or convert the disk elsewhere: `qemu-img convert -O raw OLD NEW`.',
  });
  if (exitCode !== 0)
    throw new VmError(
      /No space left/.test(errors) ? 'IO' : 'IMAGE_INVALID',
      `qemu-img can't read ${source.file}: ${errors.trim().split('\n').at(-1)?.slice(0, 300) ?? ''}`,
      { path: source.file, exitCode, log: errors },
    );
  return { file: target, offset: 0, size: await sizeOf(target) };
}

async function checked(file: string, backing: boolean, maxBytes: number): Promise<void> {
  const handle = await open(file, 'r').catch((cause: unknown) => {
    throw hostError(file, cause);
  });
  try {
    await checkQcow2(handle, file, backing);
    const { buffer } = await handle.read(Buffer.alloc(8), 0, 8, 24);
    if (buffer.readBigUInt64BE(0) > BigInt(maxBytes) + BigInt(2 ** 30))
      throw new VmError('IMAGE_INVALID', `${file} unpacks to ${buffer.readBigUInt64BE(0)} bytes, over ${maxBytes}`, {
        path: file,
        advice: 'Allow more with `maxBytes` (`--max-size`).',
      });
  } finally {
    await handle.close();
  }
}

async function sizeOf(file: string): Promise<number> {
  const handle = await open(file, 'r');
  try {
    return (await handle.stat()).size;
  } finally {
    await handle.close();
  }
}

async function copySparsely(
  { file, offset, size }: FileRange,
  target: string,
  { reader, signal, onProgress }: DiskOptions,
): Promise<FileRecord> {
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(pieceBytes);
  const out = await open(target, 'wx', 0o644).catch(ioError);
  try {
    for (let at = 0; at < size;) {
      signal?.throwIfAborted();
      const piece = await reader.read(file, offset + at, Math.min(pieceBytes, size - at));
      if (piece.length === 0)
        throw new VmError('IMAGE_INVALID', `${file} has become shorter meanwhile`, { path: file });
      hash.update(piece);
      if (!piece.equals(zeros.subarray(0, piece.length))) await out.write(piece, 0, piece.length, at).catch(ioError);
      at += piece.length;
      onProgress?.(at, size);
    }
    const full = Math.ceil(size / rootSizeUnit) * rootSizeUnit;
    for (let at = size; at < full; at += pieceBytes) hash.update(zeros.subarray(0, Math.min(pieceBytes, full - at)));
    await out.truncate(full).catch(ioError);
    await out.sync();
    return { sha256: hash.digest('hex'), size: full };
  } finally {
    await out.close();
  }
  function ioError(cause: unknown): never {
    throw VmError.from(cause, 'IO', { path: target });
  }
}
