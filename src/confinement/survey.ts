import { statSync } from 'node:fs';
import { VmError } from '../errors.ts';

/** A path that a VMM opens, and what the host shows of it (links followed). */
export interface Seen {
  path: string;
  access: 'read' | 'write';
  kind: 'file' | 'folder' | 'device' | 'socket';
  /** permission bits */
  mode: number;
  uid: number;
  gid: number;
  /** of a device */
  device?: { type: 'b' | 'c'; major: number; minor: number } | undefined;
}

/**
 * Looks at paths. Those that are optional and not there are left out.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE
 */
export function survey(
  paths: readonly { path: string; access: 'read' | 'write'; optional?: boolean | undefined }[],
): Seen[] {
  const found: Seen[] = [];
  for (const { path, access, optional } of paths) {
    try {
      found.push({ path, access, ...look(path) });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const missing = code === 'ENOENT' || code === 'ENOTDIR';
      if (missing && optional === true) continue;
      throw new VmError(
        missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE',
        `${path} can't be given to the VMM: ${message}`,
        {
          path,
          errno: code,
          cause: error,
        },
      );
    }
  }
  return found;
}

function look(path: string): Omit<Seen, 'path' | 'access'> {
  const stat = statSync(path);
  const { mode, uid, gid, rdev } = stat;
  const common = { mode: mode & 0o7777, uid, gid };
  if (stat.isBlockDevice() || stat.isCharacterDevice()) {
    // As glibc's gnu_dev_major and gnu_dev_minor for the numbers that Linux has (12 and 20 bits).
    const device = { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
    return { ...common, kind: 'device', device: { type: stat.isBlockDevice() ? 'b' : 'c', ...device } };
  }
  return { ...common, kind: stat.isDirectory() ? 'folder' : stat.isSocket() ? 'socket' : 'file' };
}

/** Whether a user who is neither owner nor in the group may use it; with `uid`, whether that one may. */
export function mayUse(seen: Seen, uid: number, groups: readonly number[] = []): boolean {
  const needed = (seen.access === 'write' ? 0o6 : 0o4) | (seen.kind === 'folder' ? 0o1 : 0);
  const granted = seen.uid === uid ? seen.mode >> 6 : groups.includes(seen.gid) ? seen.mode >> 3 : seen.mode;
  return (granted & needed) === needed;
}
