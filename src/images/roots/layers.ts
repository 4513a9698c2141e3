import { VmError } from '../../errors.ts';
import type { RangeReader } from './range-reader.ts';
import { type TarEntry, tarEntries } from './tar-index.ts';
import {
  type FileKind,
  type FileRange,
  folderAt,
  type FolderNode,
  hostile,
  namesOf,
  newFolder,
  type TreeNode,
} from './tree.ts';

/** What the layers of one image may hold together. */
export interface TreeLimits {
  /** files and folders */
  entries: number;
  /** bytes of all files */
  bytes: number;
  /** as for {@link tarEntries} */
  openEnd?: boolean | undefined;
  /** a name that would be a whiteout in a layer is a file's like any other: there is nothing below */
  plainNames?: boolean | undefined;
}

/** Beginnings of names that say what a layer removes from those below (OCI image specification, "Whiteouts"). */
const whiteout = '.wh.';
const opaque = '.wh..wh..opq';

const maxId = 0xffff_fffe;
/** The most that an attribute of Linux may hold (XATTR_SIZE_MAX); here for all of a file, which the image's file system can write down. */
const maxXattrBytes = 0xffff;

/**
 * Puts layers on one another: uncompressed tar archives, the lowest first. Nothing of them is written to the host; files are found by
 * their place in the archive. What would lead out of the root is refused, links included.
 * @throws {VmError} IMAGE_INVALID, UNSUPPORTED, FILE_UNREADABLE, ABORTED
 */
export async function mergeLayers(
  reader: RangeReader,
  layers: readonly FileRange[],
  limits: TreeLimits,
  signal?: AbortSignal,
): Promise<FolderNode> {
  const root = newFolder(0);
  const left = { ...limits };
  for (const [at, archive] of layers.entries()) {
    const layer = new Layer(root, at + 1, limits.plainNames === true);
    for await (const entry of tarEntries(reader, archive, { ...limits, entries: left.entries }, signal)) {
      left.entries -= 1;
      left.bytes -= entry.type === '0' || entry.type === '\0' || entry.type === '7' ? entry.data.size : 0;
      if (left.entries < 0 || left.bytes < 0)
        throw new VmError(
          'IMAGE_INVALID',
          `the image is larger than allowed: ${limits.bytes} bytes in ${limits.entries} files`,
        );
      layer.add(entry);
    }
  }
  return root;
}

/** One layer on its way onto the tree. */
class Layer {
  readonly #root: FolderNode;
  readonly #number: number;
  readonly #plainNames: boolean;

  constructor(root: FolderNode, number: number, plainNames: boolean) {
    this.#root = root;
    this.#number = number;
    this.#plainNames = plainNames;
  }

  add(entry: TarEntry): void {
    const names = namesOf(entry.path);
    const name = names.pop();
    if (name === undefined) return this.#describeRoot(entry);
    // The guest's kernel fills /dev by itself.
    if (names[0] === 'dev' && isDevice(entry)) return;
    const folder = folderAt(this.#root, names, this.#number);
    if (name === opaque && !this.#plainNames) return this.#clear(folder);
    if (name.startsWith(whiteout) && !this.#plainNames) return this.#remove(folder, name.slice(whiteout.length));
    const there = folder.children.get(name);
    if (entry.type === '1') return this.#link(folder, name, entry);
    const node: TreeNode = { ...attributes(entry), ...this.#kindOf(entry), layer: this.#number };
    if (there?.kind === 'folder' && node.kind === 'folder') node.children = there.children;
    else if (there?.layer === this.#number && there.kind !== 'folder')
      throw hostile(entry.path, 'comes twice in one layer');
    folder.children.set(name, node);
  }

  #describeRoot(entry: TarEntry): void {
    if (entry.type === '5') Object.assign(this.#root, attributes(entry));
  }

  #kindOf(entry: TarEntry): FileKind {
    switch (entry.type) {
      case '0':
      case '\0':
      case '7':
        return { kind: 'file', data: entry.data };
      case '2':
        if (entry.target === '') throw hostile(entry.path, 'is a link to nothing');
        return { kind: 'symlink', target: entry.target };
      case '5':
        return { kind: 'folder', children: new Map() };
      case '6':
        return { kind: 'fifo' };
      case '3':
      case '4':
        throw hostile(entry.path, 'is a device outside /dev');
      default:
        throw hostile(entry.path, `is of an unknown type (${JSON.stringify(entry.type)})`);
    }
  }

  /** A further name of a file that is there already, in this layer or below. */
  #link(folder: FolderNode, name: string, entry: TarEntry): void {
    const names = namesOf(entry.target);
    const last = names.pop() ?? '';
    const file = folderAt(this.#root, names, this.#number).children.get(last);
    if (file === undefined || file.kind === 'folder')
      throw hostile(entry.path, 'is a hard link to a file that is not there');
    if (folder.children.get(name)?.layer === this.#number && folder.children.get(name) !== file)
      throw hostile(entry.path, 'comes twice in one layer');
    file.layer = this.#number;
    folder.children.set(name, file);
  }

  /** Removes what the layers below have put at a name. */
  #remove(folder: FolderNode, name: string): void {
    const node = folder.children.get(name);
    if (node === undefined || name.startsWith(whiteout)) return;
    if (node.kind === 'folder') this.#clear(node);
    if (node.layer < this.#number && (node.kind !== 'folder' || node.children.size === 0)) folder.children.delete(name);
  }

  /** Removes all that the layers below have put into a folder. */
  #clear(folder: FolderNode): void {
    for (const name of [...folder.children.keys()]) this.#remove(folder, name);
  }
}

function isDevice({ type }: TarEntry): boolean {
  return type === '3' || type === '4';
}

function attributes(entry: TarEntry): Pick<TreeNode, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'> {
  const { mode, uid, gid, mtime, xattrs } = entry;
  if (uid < 0 || gid < 0 || uid > maxId || gid > maxId)
    throw hostile(entry.path, 'belongs to an impossible user or group');
  let bytes = 0;
  for (const [name, value] of xattrs) {
    bytes += name.length + value.length;
    if (name.length > 255 || bytes > maxXattrBytes) throw hostile(entry.path, 'has attributes that are too large');
  }
  return { mode, uid, gid, mtime: Math.max(0, mtime), xattrs };
}
