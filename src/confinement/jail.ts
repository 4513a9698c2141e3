import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import { type JailMount, type JailPlan, terminalMaker } from './jail-plan.ts';

/** Folder, in a jail, of the device nodes that are the VMM's own. */
export const ownDevices = '/dev/.own';

/** What is mounted in a jail, and made there. */
export interface Jail {
  /** the VMM's root */
  root: string;
  /** all mounts, in the form of fstab(5) */
  fstab: string;
  nodes: readonly { file: string; type: 'b' | 'c'; major: number; minor: number }[];
}

/** A VM's jail, which may be still to be built. Pure. */
export function jailAt(stateFolder: string, { nodes }: JailPlan): Jail {
  const root = vmFiles.jail(stateFolder);
  const fstab = vmFiles.jailMounts(stateFolder);
  return { root, fstab, nodes: nodes.map((node) => ({ ...node, file: path.join(root, ownNode(node.path)) })) };
}

/** Makes the folder of a jail, with its mount points and what leads to its nodes. @throws {VmError} IO */
export function makeJail(root: string, plan: JailPlan, uid: number | undefined): void {
  orIo(root, () => {
    makeFolder(root);
    const made = new Set([root]);
    for (const mount of plan.mounts) makeMountPoint(root, mount.path, mount.kind, made);
    if (uid !== undefined) makeFolder(path.join(root, ownDevices));
    for (const node of plan.nodes) linkToNode(root, node.path);
  });
}

/**
 * Writes the list of what is mounted in a jail, and makes the copies that are mounted. Nothing is mounted here: that is done in the VMM's
 * own mount namespace, and ends with it.
 * @throws {VmError} IO
 */
export function listMounts(stateFolder: string, plan: JailPlan, uid: number | undefined): void {
  const root = vmFiles.jail(stateFolder);
  orIo(root, () => {
    const flags = mountFlags();
    // The mount points themselves: an ordinary user's VMM is the same user as they belong to.
    const lines = [fields(root, root, 'none', ['bind', 'ro', 'nosuid', ...flags(root)].join(','))];
    for (const mount of plan.mounts) {
      const copied = plan.copies.includes(mount.path) ? copyFor(stateFolder, mount.path, uid) : undefined;
      lines.push(line(root, mount, copied ?? mount.path, uid, flags));
    }
    if (uid !== undefined) {
      lines.push(fields('none', path.join(root, ownDevices), 'tmpfs', 'mode=0711,size=64k,nosuid,noexec'));
      // The kernel looks for the terminals beside the node that makes them (devpts_mntget in fs/devpts/inode.c).
      if (plan.nodes.some((node) => node.path === terminalMaker)) {
        const beside = path.join(root, ownDevices, 'pts');
        lines.push(fields('/dev/pts', beside, 'none', 'bind,nosuid,noexec,X-mount.mkdir=0711'));
      }
    }
    writeFileSync(vmFiles.jailMounts(stateFolder), lines.join(''), { mode: 0o600 });
  });
}

/** @throws {VmError} IO for what the file system refuses */
function orIo(root: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't make the VMM's jail: ${message}`, { path: root, errno: code, cause: error });
  }
}

/**
 * Makes the place at which something is mounted; one that is there is taken as it is.
 * @param made folders that are known to be there; those that are made are added
 */
export function makeMountPoint(root: string, file: string, kind: 'file' | 'folder', made?: Set<string>): void {
  const place = path.join(root, file);
  makeFolder(kind === 'folder' ? place : path.dirname(place), made);
  if (kind === 'file') writeFileSync(place, '', { flag: 'a' });
}

/** Lets a path of a device lead to the node that the VMM gets. @returns the node's path in the jail */
export function linkToNode(root: string, device: string): string {
  const place = path.join(root, device);
  makeFolder(path.dirname(place));
  try {
    symlinkSync(ownNode(device), place);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return ownNode(device);
}

/** Where such a node is in the jail. */
export function ownNode(device: string): string {
  return path.join(ownDevices, device.slice(1).replaceAll('/', '-'));
}

/**
 * Others pass through, and nobody but us writes. Where something of the way is known to be there, the rest is made from there on: the
 * kernel's refusals on the way back to it would be as many calls again.
 */
function makeFolder(folder: string, made: Set<string> = new Set()): void {
  if (made.has(folder)) return;
  if (made.size > 0) makeFolder(path.dirname(folder), made);
  mkdirSync(folder, { recursive: true });
  // Whatever our umask says.
  chmodSync(folder, 0o755);
  made.add(folder);
}

/** A copy shares the file's blocks where the file system can. */
function copyFor(stateFolder: string, file: string, uid: number | undefined): string {
  const folder = vmFiles.jailCopies(stateFolder);
  makeFolder(folder);
  const copy = path.join(folder, file.slice(1).replaceAll('/', '-'));
  copyFileSync(file, copy, constants.COPYFILE_FICLONE);
  chmodSync(copy, 0o400);
  if (uid !== undefined) chownSync(copy, uid, uid);
  return copy;
}

function line(root: string, mount: JailMount, source: string, uid: number | undefined, flags: MountFlags): string {
  const place = path.join(root, mount.path);
  if (mount.what === 'hugepages') {
    const owner = uid === undefined ? '' : `,uid=${uid},gid=${uid}`;
    return fields('none', place, 'hugetlbfs', `mode=0700${owner}`);
  }
  if (mount.what === 'processes') {
    const access = mount.readOnly ? 'ro' : 'rw';
    return fields('none', place, 'proc', `${access},nosuid,nodev,noexec,hidepid=2,subset=pid`);
  }
  // Flags that the file system has on the host must stay: in a user namespace the kernel insists on it.
  const options = mount.readOnly ? ['bind', 'ro', 'nosuid', ...flags(source)] : ['bind'];
  return fields(source, place, 'none', options.join(','));
}

/** Blanks are written as fstab(5) has them. */
function fields(...words: readonly string[]): string {
  const escape = (text: string): string =>
    text.replaceAll(/[\s\\#]/g, (sign) => `\\${sign.charCodeAt(0).toString(8).padStart(3, '0')}`);
  return `${words.map(escape).join(' ')} 0 0\n`;
}

type MountFlags = (file: string) => string[];

/** What restricts the file system that a file is on. */
function mountFlags(): MountFlags {
  const kept = ['nodev', 'noexec', 'noatime', 'nodiratime', 'relatime'];
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((text) => text.split(' '))
    .map(([, , , , folder = '', options = '']) => ({
      folder: folder.replaceAll(/\\(\d{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))),
      flags: options.split(',').filter((option) => kept.includes(option)),
    }));
  return (file) => {
    const above = mounts.filter(({ folder }) => folder === '/' || file === folder || file.startsWith(`${folder}/`));
    return above.toSorted((a, b) => b.folder.length - a.folder.length)[0]?.flags ?? [];
  };
}
