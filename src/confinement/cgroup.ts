import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rmdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { VmError } from '../errors.ts';
import { cgroupName, type CgroupPlan } from './confinement-plan.ts';

/** Milliseconds that the kernel gets to take the last process out of a cgroup after it has ended. */
const emptyMs = 5000;

/** Makes a VM's cgroup, or sets the limits of one that is there. @throws {VmError} HOST_MISSING */
export function makeCgroup({ version, folders, limits, controllers }: CgroupPlan): void {
  try {
    for (const folder of folders) {
      if (version === 2) switchOn(path.dirname(folder), controllers);
      mkdirSync(folder, { recursive: true });
    }
    for (const { file, value } of limits) writeFileSync(file, value);
  } catch (error) {
    throw unusable(error as NodeJS.ErrnoException);
  }
}

/**
 * Puts a process into a VM's cgroup. Done when it has just started, and not by itself before: the kernel takes some 20 ms for
 * the first process in a while that changes its cgroup, in which the VMM may as well begin its work.
 * @throws {VmError} HOST_MISSING
 */
export async function enterCgroup({ folders }: CgroupPlan, pid: number): Promise<void> {
  try {
    for (const folder of folders) await writeFile(path.join(folder, 'cgroup.procs'), `${pid}`);
  } catch (error) {
    // ESRCH: it has ended already, and whoever started it says why.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw unusable(error as NodeJS.ErrnoException);
  }
}

/** Removes a VM's cgroup; nothing happens when there is none. The VMM must have ended. @throws {VmError} IO */
export async function removeCgroup(id: string, folders: readonly string[]): Promise<void> {
  // The folders come from a file: none but this VM's own is ever removed.
  for (const folder of folders.filter((it) => path.basename(it) === cgroupName(id))) await removeFolder(folder);
}

async function removeFolder(folder: string): Promise<void> {
  const end = performance.now() + emptyMs;
  for (let pauseMs = 1; ; pauseMs *= 2) {
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      // A process leaves its cgroup a moment after its parent has heard of its end; version 1 has no event for it.
      if (code !== 'EBUSY' || performance.now() > end)
        throw new VmError('IO', `can't remove the cgroup ${folder}: ${message}`, { path: folder, errno: code });
      await delay(pauseMs);
    }
  }
}

/** Only what is on for the folder above is there for its children. */
function switchOn(parent: string, controllers: readonly string[]): void {
  const file = path.join(parent, 'cgroup.subtree_control');
  const on = readFileSync(file, 'utf8').trim().split(/\s+/);
  const off = controllers.filter((controller) => !on.includes(controller));
  if (off.length > 0) writeFileSync(file, off.map((controller) => `+${controller}`).join(' '));
}

function unusable(error: NodeJS.ErrnoException): VmError {
  return new VmError('HOST_MISSING', `can't make a cgroup for the VMM: ${error.message}`, {
    errno: error.code,
    path: error.path,
    advice: 'With `--confinement best` the VM starts without limits where they can not be set.',
    cause: error,
  });
}
