import { accessSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';

/** Where a cgroup for a VM can be made. */
export interface CgroupHost {
  version: 1 | 2;
  /** the folder above the VM's own, by controller; one and the same for all with version 2 */
  parents: Readonly<Partial<Record<Controller, string>>>;
}

export const controllers = ['memory', 'pids', 'cpu'] as const;
/** A part of the kernel that limits cgroups. */
export type Controller = (typeof controllers)[number];

/** What must be there for a VM to count as limited; `cpu` is used when it is asked for. */
const needed = ['memory', 'pids'] as const;

/**
 * Finds where this process may make cgroups, or says why nowhere. As root: at the top of the hierarchies, so that a
 * detached VM does not hang on the cgroup of the session that made it. Otherwise: beside our own cgroup, where systemd
 * has delegated that part of the tree to the user.
 */
export function findCgroups(root: boolean, proc = '/proc/self'): CgroupHost | string {
  const mounts = readMounts(proc);
  const unified = mounts.find(({ type }) => type === 'cgroup2')?.folder;
  const v2 = unified === undefined ? 'no cgroup file system is mounted' : inVersion2(unified, root, proc);
  if (typeof v2 !== 'string') return v2;
  const v1 = mounts.filter(({ type }) => type === 'cgroup');
  if (v1.length === 0) return v2;
  const parents: Partial<Record<Controller, string>> = {};
  for (const controller of controllers) {
    const folder = v1.find(({ options }) => options.includes(controller))?.folder;
    if (folder !== undefined && mayWrite(folder)) parents[controller] = folder;
  }
  if (needed.every((controller) => parents[controller] !== undefined)) return { version: 1, parents };
  return root ? 'its cgroup controllers memory and pids may not be used' : 'cgroups of version 1 are for root only';
}

function inVersion2(mount: string, root: boolean, proc: string): CgroupHost | string {
  const parent = root ? mount : siblingOfOwn(mount, proc);
  // Root can switch controllers on for the children; a user gets those that are on already.
  const offered = words(path.join(parent, root ? 'cgroup.controllers' : 'cgroup.subtree_control'));
  if (!needed.every((controller) => offered.includes(controller)))
    return 'the controllers memory and pids are not offered there';
  if (!mayWrite(parent) || !mayWrite(path.join(parent, 'cgroup.procs')))
    return 'no part of the cgroup tree is delegated to this user';
  const usable = controllers.filter((controller) => offered.includes(controller));
  return { version: 2, parents: Object.fromEntries(usable.map((controller) => [controller, parent])) };
}

function siblingOfOwn(mount: string, proc: string): string {
  const own = /^0::(.*)$/m.exec(read(path.join(proc, 'cgroup')))?.[1] ?? '/';
  return path.join(mount, path.dirname(own));
}

function readMounts(proc: string): { folder: string; type: string; options: string[] }[] {
  return read(path.join(proc, 'mountinfo'))
    .split('\n')
    .map((line) => line.split(' - '))
    .map(([left = '', right = '']) => {
      const [type = '', , options = ''] = right.split(' ');
      return { folder: left.split(' ')[4] ?? '', type, options: options.split(',') };
    });
}

function words(file: string): string[] {
  return read(file).trim().split(/\s+/);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function mayWrite(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
