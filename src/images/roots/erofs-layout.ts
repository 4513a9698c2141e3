import {
  blockSize,
  type FolderEntry,
  folderBlocks,
  folderSize,
  inodeLength,
  inodesOffset,
  inodeUnit,
  xattrBytes,
} from './erofs-format.ts';
import { rootSizeUnit } from './root-image.ts';
import type { FolderNode, TreeNode } from './tree.ts';

/** Files up to this size lie behind their inode: one read instead of two, and no block of their own. */
const inlineFileBytes = 1024;

/** An inode to be written, and where. */
export interface PlacedInode {
  node: TreeNode;
  number: number;
  links: number;
  /** byte offset */
  offset: number;
  /** bytes of its content */
  size: number;
  /** first block of the content; undefined when that is behind the inode, or empty */
  block: number | undefined;
  xattrs: Buffer;
  /** of a folder */
  blocks: FolderEntry[][];
  parent: FolderNode;
}

/** Where everything of an image is. */
export interface Layout {
  /** in the order of their offsets */
  inodes: PlacedInode[];
  byNode: ReadonlyMap<TreeNode, PlacedInode>;
  /** all blocks of the image */
  blocks: number;
}

/** Decides where everything goes: inodes first, each folder's together, then contents in the same order. */
export function layOut(root: FolderNode): Layout {
  const byNode = collect(root);
  const inodes = [...byNode.values()];
  let offset = inodesOffset;
  for (const placed of inodes) {
    const length = inodeLength(placed.xattrs);
    const inline = behindInode(placed, length) ? placed.size : 0;
    // What is behind an inode may not lie across two blocks.
    if (
      inline > 0 &&
      Math.floor((offset + length) / blockSize) !== Math.floor((offset + length + inline - 1) / blockSize)
    )
      offset = Math.ceil(offset / blockSize) * blockSize;
    placed.offset = offset;
    offset = Math.ceil((offset + length + inline) / inodeUnit) * inodeUnit;
  }
  let block = Math.ceil(offset / blockSize);
  for (const placed of inodes) {
    if (placed.size === 0 || behindInode(placed, inodeLength(placed.xattrs))) continue;
    placed.block = block;
    block += Math.ceil(placed.size / blockSize);
  }
  const unit = rootSizeUnit / blockSize;
  return { inodes, byNode, blocks: Math.ceil(block / unit) * unit };
}

function behindInode({ node, size }: PlacedInode, length: number): boolean {
  if (node.kind === 'file' && size > inlineFileBytes) return false;
  return size > 0 && length + size <= blockSize;
}

/** All nodes, the root first, and each once. */
function collect(root: FolderNode): Map<TreeNode, PlacedInode> {
  const byNode = new Map<TreeNode, PlacedInode>();
  const add = (node: TreeNode, parent: FolderNode): void => {
    const known = byNode.get(node);
    if (known !== undefined) {
      known.links += 1;
      return;
    }
    const blocks = node.kind === 'folder' ? folderBlocks(entriesOf(node)) : [];
    byNode.set(node, {
      node,
      number: byNode.size + 1,
      links: 1,
      offset: 0,
      size: sizeOf(node, blocks),
      block: undefined,
      xattrs: xattrBytes(node.xattrs),
      blocks,
      parent,
    });
  };
  add(root, root);
  // A Map goes on to what is added meanwhile: folders are taken level by level.
  for (const { node, links } of byNode.values()) {
    if (node.kind !== 'folder') continue;
    for (const child of node.children.values()) add(child, node);
    const placed = byNode.get(node);
    const folders = [...node.children.values()].filter(({ kind }) => kind === 'folder').length;
    if (placed !== undefined) placed.links = links + 1 + folders;
  }
  return byNode;
}

function entriesOf(folder: FolderNode): FolderEntry[] {
  const children = [...folder.children].map(([name, { kind }]) => ({ name, kind }));
  return [{ name: '.', kind: 'folder' }, { name: '..', kind: 'folder' }, ...children];
}

function sizeOf(node: TreeNode, blocks: readonly FolderEntry[][]): number {
  switch (node.kind) {
    case 'file':
      return node.data.size;
    case 'symlink':
      return node.target.length;
    case 'folder':
      return folderSize(blocks);
    case 'fifo':
      return 0;
  }
}
