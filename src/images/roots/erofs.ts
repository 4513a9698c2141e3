import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import type { FileRecord } from '../image.ts';
import { blockSize, folderBytes, inode, inodeUnit, superblock } from './erofs-format.ts';
import { type Layout, layOut, type PlacedInode } from './erofs-layout.ts';
import type { RangeReader } from './range-reader.ts';
import type { FolderNode } from './tree.ts';

const pieceBytes = 1 << 20;

/** How a file system is written. */
export interface WriteOptions {
  signal?: AbortSignal | undefined;
  /** name of the volume, of 15 bytes at most; none by default */
  label?: string | undefined;
  /** told how many bytes of how many are written */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Writes a tree as an EROFS image into a new file, from front to back, and flushes it to the disk. Equal trees give equal bytes.
 * @throws {VmError} IO when the host has no room for it, among others; FILE_UNREADABLE, IMAGE_INVALID when a source has shrunk; ABORTED
 */
export async function writeErofs(
  root: FolderNode,
  file: string,
  reader: RangeReader,
  options: WriteOptions = {},
): Promise<FileRecord> {
  const layout = layOut(root);
  const total = layout.blocks * blockSize;
  const out = await open(file, 'wx', 0o644).catch((cause: unknown) => {
    throw ioError(file, cause);
  });
  try {
    const hash = createHash('sha256');
    let done = 0;
    for await (const piece of gathered(content(layout, reader, options.label))) {
      options.signal?.throwIfAborted();
      hash.update(piece);
      const { bytesWritten } = await out.write(piece).catch((cause: unknown) => {
        throw ioError(file, cause);
      });
      if (bytesWritten < piece.length)
        throw new VmError('IO', `no space is left for ${file}`, { path: file, errno: 'ENOSPC' });
      done += piece.length;
      options.onProgress?.(done, total);
    }
    await out.sync();
    return { sha256: hash.digest('hex'), size: done };
  } finally {
    await out.close();
  }
}

/** All bytes of an image, in order. */
async function* content(layout: Layout, reader: RangeReader, label = ''): AsyncGenerator<Buffer> {
  yield superblock({ inodes: layout.inodes.length, blocks: layout.blocks, label });
  let at = layout.inodes[0]?.offset ?? 0;
  const inodeOf = (placed: PlacedInode, name: string): number => {
    const { node, parent } = placed;
    const meant =
      name === '.' ? node : name === '..' ? parent : node.kind === 'folder' ? node.children.get(name) : undefined;
    const found = meant === undefined ? undefined : layout.byNode.get(meant);
    if (found === undefined) throw new VmError('INTERNAL', 'a file was placed nowhere');
    return found.offset / inodeUnit;
  };
  async function* bytesOf(placed: PlacedInode): AsyncGenerator<Buffer> {
    const { node, blocks } = placed;
    if (node.kind === 'folder') yield folderBytes(blocks, (name) => inodeOf(placed, name));
    if (node.kind === 'symlink') yield Buffer.from(node.target, 'latin1');
    if (node.kind !== 'file') return;
    const { file, offset, size } = node.data;
    for (let from = 0; from < size; from += pieceBytes) {
      const length = Math.min(pieceBytes, size - from);
      const piece = await reader.read(file, offset + from, length);
      if (piece.length < length)
        throw new VmError('IMAGE_INVALID', `${file} has become shorter meanwhile`, { path: file });
      yield piece;
    }
  }
  for (const placed of layout.inodes) {
    if (placed.offset > at) yield Buffer.alloc(placed.offset - at);
    const head = inode(placed.node, placed);
    yield head;
    at = placed.offset + head.length;
    if (placed.block !== undefined) continue;
    for await (const piece of bytesOf(placed)) yield piece;
    at += placed.size;
  }
  for (const placed of layout.inodes) {
    if (placed.block === undefined) continue;
    if (placed.block * blockSize > at) yield Buffer.alloc(placed.block * blockSize - at);
    for await (const piece of bytesOf(placed)) yield piece;
    at = placed.block * blockSize + placed.size;
  }
  if (layout.blocks * blockSize > at) yield Buffer.alloc(layout.blocks * blockSize - at);
}

/** The same bytes in large pieces. A piece is valid until the next is asked for. */
async function* gathered(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const room = Buffer.allocUnsafe(4 * pieceBytes);
  let used = 0;
  for await (const piece of pieces) {
    if (used + piece.length > room.length) {
      yield room.subarray(0, used);
      used = 0;
    }
    used += piece.copy(room, used);
  }
  if (used > 0) yield room.subarray(0, used);
}

function ioError(file: string, cause: unknown): VmError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new VmError('IO', `cannot write ${file}: ${message}`, { path: file, errno: code, cause });
}
