import path from 'node:path';
import { VmError } from '../errors.ts';
import { mayUse, type Seen } from './survey.ts';
import type { Tools } from './tools.ts';

/*
 * A jail is a folder with nothing in it but mount points. In a mount namespace of the VMM's own the few files that it needs
 * are bound there, under the paths that they have on the host, and then it is the VMM's root. The host's file system stays mounted
 * in that namespace, with no name by which a chrooted process could reach it: so more can be bound later, while it runs.
 */

/** All that a VMM sees. Paths are those of the host, and of the jail alike. */
export interface JailPlan {
  /** in the order in which they are mounted */
  mounts: readonly JailMount[];
  /** devices that get a node of their own: the host's is closed to the VMM's uid */
  nodes: readonly JailNode[];
  /** files that are copied for the VMM: it may not read the host's. Only such as it reads once, when it starts */
  copies: readonly string[];
}

/** Something that is shown in a jail. */
export interface JailMount {
  path: string;
  kind: 'file' | 'folder';
  readOnly: boolean;
  /** it shows what lies there on the host; `hugepages`: a file system of its own; `processes`: those of the VMM's pid namespace */
  what: 'host' | 'hugepages' | 'processes';
}

/** A device's node, made for one VMM. */
export interface JailNode {
  path: string;
  type: 'b' | 'c';
  major: number;
  minor: number;
}

/** Libraries; what is not there is left out. Setuid files in them serve nobody: no-new-privs. */
export const libraryFolders: readonly string[] = ['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib'];
/** What a program of 32 bits needs beside, where the host has programs of both kinds. */
export const libraryFolders32: readonly string[] = ['/lib32', '/usr/lib32'];
/** By which the loader finds them. */
export const loaderFiles: readonly string[] = ['/etc/ld.so.cache'];
/** Opened, it makes a pseudo-terminal. */
export const terminalMaker = '/dev/ptmx';
/** Every program may want these. */
export const plainDevices: readonly string[] = ['/dev/null', '/dev/zero', '/dev/urandom'];
/** What a VMM that is a script needs beside: its interpreter and the commands that it calls. */
export const scriptFolders: readonly string[] = ['/bin', '/usr/bin'];

/**
 * @param all it may use whatever it is shown
 * @throws {VmError} PERMISSION when the VMM's uid could not open what it is to open
 */
export function planJail(
  { runtimeFolder, hugePages }: { runtimeFolder: string; hugePages: boolean },
  seen: readonly Seen[],
  { uid, groups, all, tools }: { uid: number | undefined; groups: readonly number[]; all: boolean; tools: Tools },
): JailPlan {
  const wanted = new Map<string, Seen>();
  for (const one of seen) {
    const file = path.normalize(one.path);
    const before = wanted.get(file);
    if (before === undefined || one.access === 'write') wanted.set(file, { ...one, path: file });
  }
  const copies: string[] = [];
  const nodes: JailNode[] = [];
  const mounts: JailMount[] = [{ path: runtimeFolder, kind: 'folder', readOnly: false, what: 'host' }];
  if (tools.setpriv !== undefined) mounts.push({ path: tools.setpriv, kind: 'file', readOnly: true, what: 'host' });
  if (hugePages) mounts.push({ path: '/dev/hugepages', kind: 'folder', readOnly: false, what: 'hugepages' });
  for (const one of wanted.values()) {
    if (mounts.some((mount) => mount.path === one.path)) continue;
    if (one.path === '/proc') {
      // The host's would show its processes; an ordinary user may mount none.
      if (uid !== undefined)
        mounts.push({ path: one.path, kind: 'folder', readOnly: one.access === 'read', what: 'processes' });
      continue;
    }
    const closed = uid !== undefined && !all && !mayUse(one, uid, groups);
    // The kernel makes terminals in the file system that it finds beside the node, which beside the host's is out of sight (jail.ts).
    const makesTerminals = uid !== undefined && one.path === terminalMaker;
    if ((closed || makesTerminals) && one.device !== undefined) {
      nodes.push({ path: one.path, ...one.device });
      continue;
    }
    if (closed && one.kind === 'file' && one.access === 'read') copies.push(one.path);
    else if (closed) throw closedTo(one, uid);
    const kind = one.kind === 'folder' ? 'folder' : 'file';
    // A device's node is no file that could be changed, and a read-only one could not be written through everywhere.
    mounts.push({ path: one.path, kind, readOnly: one.access === 'read' && one.kind !== 'device', what: 'host' });
  }
  const needed = mounts.filter((mount) => copies.includes(mount.path) || !isShownBy(mount, mounts));
  return { mounts: needed.toSorted(byDepth), nodes, copies };
}

/** What a uid of its own may not open, and how to change that. */
export function closedTo({ path: file, access, kind, mode }: Seen, uid: number): VmError {
  const may = access === 'write' ? 'written' : 'read';
  return new VmError(
    'PERMISSION',
    `${file} may not be ${may} by the VMM, which runs under a uid of its own, ${uid} (mode ${mode.toString(8)})`,
    {
      path: file,
      advice: `Let others use it (\`chmod o+${access === 'write' ? 'rw' : 'r'}${kind === 'folder' ? 'x' : ''}\`; the VM sees this ${kind} alone), or use \`--confinement best\`.`,
    },
  );
}

/** A folder that is shown shows what lies in it, unless that is to be writable and the folder is not. */
function isShownBy(mount: JailMount, mounts: readonly JailMount[]): boolean {
  return mounts.some(
    (other) =>
      other.kind === 'folder' &&
      other.what === 'host' &&
      mount.path.startsWith(`${other.path}/`) &&
      (mount.readOnly || !other.readOnly),
  );
}

/** What lies in another is mounted after it. */
function byDepth(a: JailMount, b: JailMount): number {
  return a.path.split('/').length - b.path.split('/').length || (a.path < b.path ? -1 : 1);
}
