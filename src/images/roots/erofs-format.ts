import type { TreeNode } from './tree.ts';

/*
 * The parts of EROFS on disk that an uncompressed image needs (Linux, fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst).
 * Every Linux since 5.4 reads it, and nothing but this code is needed to write it.
 */

export const blockSize = 4096;
/** Where the superblock is. */
export const superOffset = 1024;
/** Where inodes begin: the first place behind the superblock. Inodes are counted in units of 32 bytes. */
export const inodesOffset: number = superOffset + 128;
export const inodeUnit = 32;
export const magic = 0xe0f5_e1e2;
export const inodeBytes = 64;
export const xattrHeaderBytes = 12;
export const direntBytes = 12;
/** How an inode's content lies: in blocks of its own, or behind the inode. */
export const layouts = { plain: 0, inline: 2 } as const;

export const kinds = {
  file: { type: 1, format: 0o100_000 },
  folder: { type: 2, format: 0o040_000 },
  fifo: { type: 5, format: 0o010_000 },
  symlink: { type: 7, format: 0o120_000 },
} as const;

/** Prefixes of attribute names that are written as a number. */
export const xattrPrefixes: readonly (readonly [prefix: string, index: number])[] = [
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['user.', 1],
  ['trusted.', 4],
  ['security.', 6],
];

/** What an inode says beside what the node does. */
export interface InodeFacts {
  /** its place among all inodes, from 1 on */
  number: number;
  links: number;
  /** bytes of its content */
  size: number;
  /** first block of the content, when it isn't behind the inode */
  block: number | undefined;
  xattrs: Buffer;
}

/** An inode, its attributes behind it. */
export function inode(node: TreeNode, facts: InodeFacts): Buffer {
  const { number, links, size, block, xattrs } = facts;
  const layout = block === undefined && size > 0 ? layouts.inline : layouts.plain;
  const bytes = Buffer.alloc(inodeBytes);
  bytes.writeUInt16LE(1 | (layout << 1), 0);
  bytes.writeUInt16LE(xattrs.length === 0 ? 0 : (xattrs.length - xattrHeaderBytes) / 4 + 1, 2);
  bytes.writeUInt16LE(kinds[node.kind].format | node.mode, 4);
  bytes.writeBigUInt64LE(BigInt(size), 8);
  bytes.writeUInt32LE(block ?? (node.kind === 'fifo' ? 0 : 0xffff_ffff), 16);
  bytes.writeUInt32LE(number, 20);
  bytes.writeUInt32LE(node.uid, 24);
  bytes.writeUInt32LE(node.gid, 28);
  bytes.writeBigUInt64LE(BigInt(node.mtime), 32);
  bytes.writeUInt32LE(links, 44);
  return xattrs.length === 0 ? bytes : Buffer.concat([bytes, xattrs]);
}

/** How long an inode with such attributes is. */
export function inodeLength(xattrs: Buffer): number {
  return inodeBytes + xattrs.length;
}

/** A file's attributes, in the order of their names. Those of a kind that Linux doesn't know are left out. */
export function xattrBytes(xattrs: ReadonlyMap<string, Buffer>): Buffer {
  const entries = [...xattrs]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, value]) => {
      const [prefix, index] = xattrPrefixes.find(([it]) => name.startsWith(it)) ?? [];
      if (prefix === undefined || index === undefined) return [];
      const rest = Buffer.from(name.slice(prefix.length), 'latin1');
      const entry = Buffer.alloc(Math.ceil((4 + rest.length + value.length) / 4) * 4);
      entry.writeUInt8(rest.length, 0);
      entry.writeUInt8(index, 1);
      entry.writeUInt16LE(value.length, 2);
      rest.copy(entry, 4);
      value.copy(entry, 4 + rest.length);
      return [entry];
    });
  return entries.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.alloc(xattrHeaderBytes), ...entries]);
}

/** An entry of a folder: its name in bytes (latin1), and what it leads to. */
export interface FolderEntry {
  name: string;
  kind: TreeNode['kind'];
}

/** The entries of a folder as they are written, by blocks: sorted by the bytes of their names, and as many in a block as fit. */
export function folderBlocks(entries: readonly FolderEntry[]): FolderEntry[][] {
  const blocks: FolderEntry[][] = [];
  let used = blockSize;
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const needed = direntBytes + entry.name.length;
    if (used + needed > blockSize) {
      blocks.push([]);
      used = 0;
    }
    blocks.at(-1)?.push(entry);
    used += needed;
  }
  return blocks;
}

/** How long a folder is. */
export function folderSize(blocks: readonly (readonly FolderEntry[])[]): number {
  const last = blocks.at(-1) ?? [];
  const lastBytes = last.reduce((sum, { name }) => sum + direntBytes + name.length, 0);
  return Math.max(0, blocks.length - 1) * blockSize + lastBytes;
}

/** The content of a folder. @param inodeOf where the inode of a name is, in units */
export function folderBytes(blocks: readonly (readonly FolderEntry[])[], inodeOf: (name: string) => number): Buffer {
  const bytes = Buffer.alloc(folderSize(blocks));
  for (const [at, entries] of blocks.entries()) {
    let dirent = at * blockSize;
    let name = entries.length * direntBytes;
    for (const entry of entries) {
      bytes.writeBigUInt64LE(BigInt(inodeOf(entry.name)), dirent);
      bytes.writeUInt16LE(name, dirent + 8);
      bytes.writeUInt8(kinds[entry.kind].type, dirent + 10);
      bytes.write(entry.name, at * blockSize + name, 'latin1');
      dirent += direntBytes;
      name += entry.name.length;
    }
  }
  return bytes;
}

/** The first bytes of an image, up to its inodes. */
export function superblock(facts: { inodes: number; blocks: number; label: string }): Buffer {
  const bytes = Buffer.alloc(inodesOffset);
  bytes.writeUInt32LE(magic, superOffset);
  bytes.writeUInt8(Math.log2(blockSize), superOffset + 12);
  bytes.writeUInt16LE(inodesOffset / inodeUnit, superOffset + 14);
  bytes.writeBigUInt64LE(BigInt(facts.inodes), superOffset + 16);
  bytes.writeUInt32LE(facts.blocks, superOffset + 36);
  bytes.write(facts.label, superOffset + 64, 15, 'latin1');
  return bytes;
}
