import { execFile } from 'node:child_process';
import { chown, link, mkdir, open, readdir, readFile, realpath, rm, rmdir, stat, symlink } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { fileError } from '../../config/file-error.ts';
import { findCgroups } from '../../confinement/cgroup-host.ts';
import { closedTo } from '../../confinement/jail-plan.ts';
import { mayUse, survey } from '../../confinement/survey.ts';
import { findTools, type ToolName } from '../../confinement/tools.ts';
import { VmError } from '../../errors.ts';
import { takeUid } from '../../state/uid-range.ts';
import { copySparsely } from './control-copy.ts';
import { jailCgroups } from './plan-jail.ts';

/** The folder that Firecracker works in, and who it is there. */
export interface WorkFolder {
  folder: string;
  /** absent where there is no jail */
  uid: number | undefined;
  /** the folder itself, where `folder` is a mount of it: a file can be linked only within one mount */
  unmounted?: string | undefined;
}

/** How something is put into the folder. */
export interface Inserted {
  source: string;
  name: string;
  access: 'read' | 'write';
  /** it is read once, at the start: a copy does as well */
  once?: boolean | undefined;
}

/**
 * Makes the folder of a jail, in which nothing may be left of an earlier one.
 * @throws {VmError} PERMISSION for whom the jailer can't work
 */
export async function makeJail(runtimeFolder: string, id: string, folder: string): Promise<void> {
  if (process.geteuid?.() !== 0) {
    throw new VmError('PERMISSION', 'the jailer needs root: it makes a root folder, a uid and cgroups for the VMM', {
      field: 'jailerPath',
      advice: 'Run as root, or leave `jailerPath` out.',
    });
  }
  await clearJail(runtimeFolder, id);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const uid = takeUid(id);
  await chown(folder, uid, uid);
  // Runtime folders are often mounted without devices, and the jailer makes /dev/kvm in there.
  if (await forbidsDevices(folder)) {
    const itself = unmountedFolder(runtimeFolder);
    await mkdir(itself, { mode: 0o700 });
    await chown(itself, uid, uid);
    await run('mount', ['--bind', itself, folder]);
    await run('mount', ['-o', 'remount,bind,dev,exec', folder]);
  }
}

/** Where the contents of a jail are, when its root is a mount of it. */
export function unmountedFolder(runtimeFolder: string): string {
  return path.join(runtimeFolder, 'jailed');
}

/** Gives files that were made for the VMM to it. */
export async function giveFiles({ uid }: WorkFolder, files: readonly string[]): Promise<void> {
  if (uid === undefined) return;
  for (const file of files) await chown(file, uid, uid);
}

/**
 * Puts a file, device or socket of the host into the VMM's folder, under a name of its own. Without a jail it is a link. Into a jail it is
 * linked as a file of both folders, mounted where these are on different file systems, copied where that does; a device gets a node.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, PERMISSION when the VMM's uid may not use it, HOST_MISSING, IO
 */
export async function insert(
  { folder, uid, unmounted = folder }: WorkFolder,
  { source, name, access, once }: Inserted,
): Promise<void> {
  const target = path.join(folder, name);
  try {
    if (uid === undefined) return await symlink(source, target);
    const [seen] = survey([{ path: source, access }]);
    if (seen === undefined) throw new VmError('FILE_NOT_FOUND', `${source} is not there`, { path: source });
    if (seen.device !== undefined) {
      const { type, major, minor } = seen.device;
      await run('mknod', ['-m', access === 'read' ? '400' : '600', target, type, `${major}`, `${minor}`]);
      return await chown(target, uid, uid);
    }
    if (!mayUse(seen, uid)) {
      if (once !== true) throw closedTo(seen, uid);
      await copySparsely(source, target);
      return await chown(target, uid, uid);
    }
    await linkOrMount(await realpath(source), path.join(unmounted, name), target, access === 'read');
  } catch (error) {
    if (error instanceof VmError) throw error;
    throw insertError(error as NodeJS.ErrnoException, source);
  }
}

async function linkOrMount(source: string, place: string, target: string, readOnly: boolean): Promise<void> {
  const linked = await link(source, place).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EXDEV') return false;
      throw error;
    },
  );
  if (linked) return;
  await (await open(target, 'wx', 0o600)).close();
  await run('mount', ['--bind', source, target]);
  if (readOnly) await run('mount', ['-o', 'remount,bind,ro', target]);
}

/** Takes what was put in out of the VMM's folder. Does nothing when it is not there. */
export async function takeOut({ folder, uid }: WorkFolder, name: string): Promise<void> {
  const target = path.join(folder, name);
  if (uid !== undefined) await unmount((mount) => mount === target);
  await rm(target, { force: true });
}

/**
 * Whether a VMM that runs sees what was put in: a mount comes into its namespace only where the host's file system is a shared one.
 * @throws {VmError} UNSUPPORTED
 */
export async function requireVisible({ folder, uid }: WorkFolder, name: string, pid: number): Promise<void> {
  if (uid === undefined) return;
  const [ours, its] = await Promise.all(
    [path.join(folder, name), `/proc/${pid}/root/${name}`].map((file) => stat(file).catch(() => undefined)),
  );
  if (ours !== undefined && ours.ino === its?.ino && ours.dev === its.dev) return;
  throw new VmError('UNSUPPORTED', 'the jail of a running VMM does not see what is mounted into it on this host', {
    operation: 'hotplugAddDevice',
    advice: 'Have the disk on the file system of the runtime folder: it is linked there, not mounted.',
  });
}

/** Removes what a jail left on the host: mounts, files and cgroups. May be repeated; nothing happens without a jail. */
export async function clearJail(runtimeFolder: string, id: string): Promise<void> {
  const programs = await readdir(runtimeFolder, { withFileTypes: true }).catch(() => []);
  const jails = programs.filter((entry) => entry.isDirectory()).map(({ name }) => path.join(runtimeFolder, name));
  for (const jail of jails) {
    await unmount((mount) => mount.startsWith(`${jail}/`));
    await rm(jail, { recursive: true, force: true });
  }
  const host = findCgroups(process.geteuid?.() === 0);
  if (typeof host === 'string') return;
  for (const folder of jailCgroups(id, host)) {
    await rmdir(folder).catch(unlessGone);
    // Of the last VM; the others still have theirs in it.
    await rmdir(path.dirname(folder)).catch(() => undefined);
  }
}

/** Lets a VMM under the jailer's limit write files as large as this. */
export async function allowFileSize(pid: number, bytes: number): Promise<void> {
  const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
  const now = /^Max file size\s+(\d+)/m.exec(limits)?.[1];
  if (now === undefined || Number(now) >= bytes) return;
  await run('prlimit', ['--pid', `${pid}`, `--fsize=${bytes}:${bytes}`]);
}

/** Whether the file system that a folder is on takes no devices or programs. */
async function forbidsDevices(folder: string): Promise<boolean> {
  const above = (await mountTable()).filter(({ place }) => place === '/' || `${folder}/`.startsWith(`${place}/`));
  const nearest = above.toSorted((a, b) => a.place.length - b.place.length).at(-1);
  return nearest?.options.some((option) => option === 'nodev' || option === 'noexec') ?? false;
}

/** What is mounted, in the order of mounting. */
async function mountTable(): Promise<{ place: string; options: string[] }[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table
    .split('\n')
    .map((line) => line.split(' '))
    .map(([, , , , place = '', options = '']) => ({
      // Blanks and the like are written in octal (proc(5)).
      place: place.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
      options: options.split(','),
    }));
}

/** Unmounts what is mounted at the places that are asked for, what lies deepest first. */
async function unmount(which: (mount: string) => boolean): Promise<void> {
  const mounts = (await mountTable()).filter(({ place }) => which(place));
  for (const { place } of mounts.toReversed()) await run('umount', [place]);
}

async function run(tool: ToolName, argv: readonly string[]): Promise<void> {
  const program = findTools()[tool];
  if (program === undefined)
    throw new VmError('HOST_MISSING', `${tool} is not on this host`, { advice: 'Install util-linux.' });
  try {
    await promisify(execFile)(program, argv, { timeout: 10_000, env: { LC_ALL: 'C' } });
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    throw new VmError('IO', `${tool} failed: ${stderr.trim().split('\n').at(-1) ?? ''}`, { cause: error });
  }
}

function insertError(error: NodeJS.ErrnoException, source: string): VmError {
  if (error.code === 'ENOENT' || error.code === 'EACCES') return fileError(error, 'path', source);
  return new VmError('IO', `${source} can't be given to Firecracker: ${error.message}`, {
    path: source,
    errno: error.code,
    cause: error,
  });
}

function unlessGone(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') {
    throw new VmError('IO', `the VM's cgroup can't be removed: ${error.message}`, {
      path: error.path,
      errno: error.code,
    });
  }
}
