import { VmError } from '../../errors.ts';

/** A part of a file of the host that holds a guest file's content. */
export interface FileRange {
  /** absolute path */
  file: string;
  /** bytes */
  offset: number;
  size: number;
}

/** What every file of a root file system has. */
interface Attributes {
  /** permission bits, those of set-id and the sticky bit among them */
  mode: number;
  uid: number;
  gid: number;
  /** seconds since 1970, whole */
  mtime: number;
  /** by their full names, such as `security.capability` */
  xattrs: ReadonlyMap<string, Buffer>;
}

/** What a file is, beside its attributes. */
export type FileKind =
  | { kind: 'file'; data: FileRange }
  | { kind: 'symlink'; target: string }
  | { kind: 'fifo' }
  | { kind: 'folder'; children: Map<string, TreeNode> };

/** A file of a root file system. One that has several names (hard links) is one node. */
export type TreeNode = Attributes &
  FileKind & {
    /** number of the layer that said so last */
    layer: number;
  };

export type FolderNode = Extract<TreeNode, { kind: 'folder' }>;

/** More links than this on one path is a loop, as in the kernel. */
const maxLinks = 40;
/** NAME_MAX and PATH_MAX of Linux. */
const maxNameBytes = 255;
const maxPathBytes = 4095;

/** A folder with nothing in it. */
export function newFolder(layer: number): FolderNode {
  const children = new Map<string, TreeNode>();
  return { kind: 'folder', children, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map(), layer };
}

/**
 * The names of a path of an archive. Paths are strings of bytes (latin1), since names need not be text.
 * @throws {VmError} IMAGE_INVALID for an absolute path, one with `..`, a NUL, or names that are too long
 */
export function namesOf(path: string): string[] {
  if (path.startsWith('/')) throw hostile(path, 'is absolute');
  if (path.includes('\0')) throw hostile(path, 'holds a NUL character');
  if (path.length > maxPathBytes) throw hostile(path, 'is too long');
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw hostile(path, 'leads out of its folder');
  if (names.some((name) => name.length > maxNameBytes)) throw hostile(path, 'has a name that is too long');
  return names;
}

/**
 * The folder that names lead to, through links, which never lead out of the root. Folders that are missing are made.
 * @throws {VmError} IMAGE_INVALID for a path through a file, or through a loop of links
 */
export function folderAt(root: FolderNode, names: readonly string[], layer: number): FolderNode {
  const shown = names.join('/');
  const ahead = [...names];
  const behind: FolderNode[] = [];
  let at = root;
  let links = 0;
  for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
    if (name === '..') {
      at = behind.pop() ?? root;
      continue;
    }
    let next = at.children.get(name);
    if (next === undefined) {
      next = newFolder(layer);
      at.children.set(name, next);
    }
    if (next.kind === 'symlink') {
      if (++links > maxLinks) throw hostile(shown, 'leads through too many links');
      if (next.target.startsWith('/')) {
        behind.length = 0;
        at = root;
      }
      ahead.unshift(...next.target.split('/').filter((part) => part !== '' && part !== '.'));
      continue;
    }
    if (next.kind !== 'folder') throw hostile(shown, 'leads through what is no folder');
    behind.push(at);
    at = next;
  }
  return at;
}

/** The error of an archive that tells something impossible or unwanted of a path. */
export function hostile(path: string, problem: string): VmError {
  const shown = Buffer.from(path, 'latin1').toString('utf8').replaceAll(/\p{C}/gu, '?').slice(0, 200);
  return new VmError('IMAGE_INVALID', `the path ${JSON.stringify(shown)} ${problem}`);
}
