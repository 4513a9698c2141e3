import { VmError } from '../errors.ts';

/** One entry of an initrd. `path` has no leading slash; `mode` holds the permission bits only. */
export type CpioEntry =
  | { type: 'directory'; path: string; mode: number }
  | { type: 'file'; path: string; mode: number; content: Uint8Array }
  | { type: 'symlink'; path: string; target: string }
  | { type: 'character'; path: string; mode: number; major: number; minor: number };

const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, character: 0o020000 } as const;

/**
 * A cpio archive in the "newc" format, the one that Linux unpacks as an initrd (Documentation/driver-api/early-userspace/buffer-format.rst).
 * Equal entries give equal bytes: sorted by path, owned by root, times 0, inodes counted from 1.
 * @throws {VmError} INVALID_ARGUMENT when a path is absolute, not normal or double, or when the folder that it is in is no entry
 */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const sorted = [...entries].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  checkPaths(sorted);
  const parts: Uint8Array[] = [];
  sorted.forEach((entry, index) => {
    const content = contentOf(entry);
    const device = entry.type === 'character' ? entry : { major: 0, minor: 0 };
    const mode = typeBits[entry.type] | (entry.type === 'symlink' ? 0o777 : entry.mode);
    const links = entry.type === 'directory' ? 2 : 1;
    parts.push(header(entry.path, [index + 1, mode, 0, 0, links, 0, content.length, 0, 0, device.major, device.minor]));
    parts.push(content, padding(content.length));
  });
  parts.push(header('TRAILER!!!', [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  return Buffer.concat(parts);
}

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.type === 'file') return entry.content;
  return entry.type === 'symlink' ? Buffer.from(entry.target) : new Uint8Array();
}

/** The fields are inode, mode, uid, gid, links, mtime, size, device (2), device of the node (2); the name's length and a 0 follow. */
function header(path: string, fields: readonly number[]): Buffer {
  const name = Buffer.from(`${path}\0`);
  const hex = [...fields, name.length, 0].map((field) => field.toString(16).padStart(8, '0').toUpperCase());
  const head = Buffer.concat([Buffer.from(`070701${hex.join('')}`), name]);
  return Buffer.concat([head, padding(head.length)]);
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

function checkPaths(sorted: readonly CpioEntry[]): void {
  const folders = new Set<string>();
  let previous = '';
  for (const { path, type } of sorted) {
    const names = path.split('/');
    if (names.some((name) => name === '' || name === '.' || name === '..' || name.includes('\0'))) {
      throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(path)} is no path of an archive`);
    }
    if (path === previous) throw new VmError('INVALID_ARGUMENT', `${path} is twice in the archive`);
    const parent = names.slice(0, -1).join('/');
    if (parent !== '' && !folders.has(parent))
      throw new VmError('INVALID_ARGUMENT', `the folder of ${path} is not in the archive`);
    if (type === 'directory') folders.add(path);
    previous = path;
  }
}
