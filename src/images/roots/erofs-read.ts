import { VmError } from '../../errors.ts';
import {
  blockSize,
  direntBytes,
  inodeBytes,
  inodeUnit,
  kinds,
  layouts,
  magic,
  superOffset,
  xattrHeaderBytes,
  xattrPrefixes,
} from './erofs-format.ts';
import type { RangeReader } from './range-reader.ts';
import type { FileRange, FolderNode, TreeNode } from './tree.ts';

/** What the reader takes of a file at once. */
const pieceBytes = 1 << 20;
/** A folder of a million names of 255 bytes. */
const maxFolderBytes = 1 << 28;
/** More files than an import takes. */
const maxInodes = 2_000_000;

/** An inode, and where its content is. */
interface Inode {
  node: TreeNode;
  data: FileRange;
}

/**
 * The tree of an EROFS image in the form in which `writeErofs` writes it: contents are ranges of the image itself.
 * @throws {VmError} UNSUPPORTED for an image in another form (compressed, small inodes), which other programs write; IMAGE_INVALID, FILE_UNREADABLE,
 *   ABORTED
 */
export async function readErofs(
  image: FileRange,
  reader: RangeReader,
  signal: AbortSignal | undefined,
): Promise<FolderNode> {
  const file = new ErofsFile(image, reader);
  const root = await file.inode(await file.rootNumber());
  if (root.node.kind !== 'folder') throw file.damaged('its root is no folder');
  const known = new Map<number, TreeNode>();
  const ahead: { folder: FolderNode; data: FileRange }[] = [{ folder: root.node, data: root.data }];
  for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
    for (const [name, number] of await file.names(next.data)) {
      signal?.throwIfAborted();
      const seen = known.get(number);
      if (seen !== undefined) {
        // A folder has one place; files may have several names.
        if (seen.kind === 'folder') throw file.damaged('a folder is in two places');
        next.folder.children.set(name, seen);
        continue;
      }
      const { node, data } = await file.inode(number);
      known.set(number, node);
      if (known.size > maxInodes) throw file.damaged('it holds too many files');
      next.folder.children.set(name, node);
      if (node.kind === 'folder') ahead.push({ folder: node, data });
    }
  }
  return root.node;
}

class ErofsFile {
  readonly #image: FileRange;
  readonly #reader: RangeReader;

  constructor(image: FileRange, reader: RangeReader) {
    this.#image = image;
    this.#reader = reader;
  }

  async rootNumber(): Promise<number> {
    const superblock = await this.#bytes(superOffset, 128);
    const isOurs =
      superblock.readUInt32LE(0) === magic &&
      superblock.readUInt8(12) === Math.log2(blockSize) &&
      // No features beside the first ones, and inodes from the image's beginning on.
      superblock.readUInt32LE(8) === 0 &&
      superblock.readUInt32LE(40) === 0 &&
      superblock.readUInt32LE(80) === 0;
    if (isOurs) return superblock.readUInt16LE(14);
    throw otherForm();
  }

  async inode(number: number): Promise<Inode> {
    const at = number * inodeUnit;
    const bytes = await this.#bytes(at, inodeBytes);
    const format = bytes.readUInt16LE(0);
    const layout = format >> 1;
    if ((format & 1) === 0 || (layout !== layouts.plain && layout !== layouts.inline)) throw otherForm();
    const xattrCount = bytes.readUInt16LE(2);
    const xattrBytes = xattrCount === 0 ? 0 : xattrHeaderBytes + (xattrCount - 1) * 4;
    const mode = bytes.readUInt16LE(4);
    const size = Number(bytes.readBigUInt64LE(8));
    const offset = layout === layouts.inline ? at + inodeBytes + xattrBytes : bytes.readUInt32LE(16) * blockSize;
    const data = { file: this.#image.file, offset: size === 0 ? 0 : offset, size };
    if (data.offset + size > this.#image.size) throw this.damaged('a file goes beyond its end');
    const attributes = {
      mode: mode & 0o7777,
      uid: bytes.readUInt32LE(24),
      gid: bytes.readUInt32LE(28),
      mtime: Number(bytes.readBigUInt64LE(32)),
      xattrs: this.#xattrs(xattrBytes === 0 ? Buffer.alloc(0) : await this.#bytes(at + inodeBytes, xattrBytes)),
      layer: 1,
    };
    switch (mode & 0o170_000) {
      case kinds.file.format:
        return { node: { ...attributes, kind: 'file', data }, data };
      case kinds.folder.format:
        return { node: { ...attributes, kind: 'folder', children: new Map() }, data };
      case kinds.fifo.format:
        return { node: { ...attributes, kind: 'fifo' }, data };
      case kinds.symlink.format: {
        if (size > blockSize) throw this.damaged('a link is too long');
        const target = (await this.#bytes(data.offset, size)).toString('latin1');
        return { node: { ...attributes, kind: 'symlink', target }, data };
      }
      default:
        throw otherForm();
    }
  }

  /** The names in a folder, with the numbers of their inodes. */
  async names({ offset, size }: FileRange): Promise<Map<string, number>> {
    const names = new Map<string, number>();
    if (size > maxFolderBytes) throw this.damaged('a folder is too large');
    for (let at = 0; at < size; at += blockSize) {
      const block = await this.#bytes(offset + at, Math.min(blockSize, size - at));
      const first = block.length < direntBytes ? 0 : block.readUInt16LE(8);
      if (first % direntBytes !== 0 || first === 0 || first > block.length) throw this.damaged('a folder is no folder');
      const starts = Array.from({ length: first / direntBytes }, (_, entry) =>
        block.readUInt16LE(entry * direntBytes + 8),
      );
      for (const [entry, start] of starts.entries()) {
        const end = starts[entry + 1] ?? block.length;
        if (start < first || end < start || end > block.length) throw this.damaged('a folder is no folder');
        const text = block.toString('latin1', start, end);
        const name = text.replace(/\0+$/, '');
        if (name === '.' || name === '..') continue;
        if (name === '' || /[/\0]/.test(name)) throw this.damaged('a file has an impossible name');
        names.set(name, Number(block.readBigUInt64LE(entry * direntBytes)));
      }
    }
    return names;
  }

  damaged(problem: string): VmError {
    return new VmError('IMAGE_INVALID', `the image is damaged: ${problem}`, { path: this.#image.file });
  }

  #xattrs(bytes: Buffer): ReadonlyMap<string, Buffer> {
    const found = new Map<string, Buffer>();
    if (bytes.length === 0) return found;
    if (bytes.readUInt8(4) !== 0) throw otherForm();
    for (let at = xattrHeaderBytes; at + 4 <= bytes.length;) {
      const [nameBytes, index, valueBytes] = [bytes.readUInt8(at), bytes.readUInt8(at + 1), bytes.readUInt16LE(at + 2)];
      const end = at + 4 + nameBytes + valueBytes;
      const prefix = xattrPrefixes.find(([, number]) => number === index)?.[0];
      if (prefix === undefined || end > bytes.length) throw this.damaged('an attribute is none');
      const name = prefix + bytes.toString('latin1', at + 4, at + 4 + nameBytes);
      found.set(name, Buffer.from(bytes.subarray(at + 4 + nameBytes, end)));
      at = Math.ceil(end / 4) * 4;
    }
    return found;
  }

  /** @throws {VmError} IMAGE_INVALID when the image ends before */
  async #bytes(offset: number, length: number): Promise<Buffer> {
    const { file, offset: from, size } = this.#image;
    if (length > pieceBytes || offset + length > size) throw this.damaged('it is cut short');
    const bytes = await this.#reader.read(file, from + offset, length);
    if (bytes.length < length) throw this.damaged('it is cut short');
    return Buffer.from(bytes);
  }
}

function otherForm(): VmError {
  return new VmError('UNSUPPORTED', 'the image is an EROFS file system in a form that is not read here', {
    advice: 'It was written by another program. Mount it, and import the folder.',
  });
}
