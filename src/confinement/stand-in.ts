import { lstatSync, readFileSync, readlinkSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import { readConfinement } from './confinement.ts';
import type { ConfinementPlan } from './confinement-plan.ts';
import { makeMountPoint, ownDevices, ownNode } from './jail.ts';
import { escaped, inNamespace, removePlaces, type RunningVmm } from './reveal.ts';
import { mayUse, survey } from './survey.ts';

/*
 * A program that opens one device by a name of its own choice, and could use another one as well, is shown that other one under
 * this name for the time of the opening. It takes a jail: the name there is the VMM's alone.
 */

/** A node of the VMM's own, for a device that its uid may not use. */
const ownName = '/dev/stand-in';

/**
 * Shows a device of the host under another name while `use` has the VMM open that. Not for two calls at once.
 * @throws {VmError} UNSUPPORTED for a VMM that has no jail; FILE_NOT_FOUND, HOST_MISSING, IO, and what `use` throws
 */
export async function withStandIn(
  vmm: RunningVmm,
  { device, as }: { device: string; as: string },
  use: () => Promise<void>,
  call: CallOptions = {},
): Promise<void> {
  const plan = readConfinement(vmm.stateFolder);
  if (plan?.jail === undefined)
    throw new VmError('UNSUPPORTED', `${device} can't be plugged into a running VM: its VMM has no jail`, {
      operation: 'hotplugAddDevice',
      advice: 'Name it when the VM is made, or make the VM with `--confinement best` or `strict`.',
    });
  await endStandIn(vmm, as);
  try {
    await show(vmm, plan, device, as, call);
    await use();
  } finally {
    await endStandIn(vmm, as);
  }
}

async function show(vmm: RunningVmm, plan: ConfinementPlan, device: string, as: string, call: CallOptions) {
  const root = vmFiles.jail(vmm.stateFolder);
  const [seen] = survey([{ path: device, access: 'write' }]);
  if (seen?.device === undefined) throw new VmError('FILE_INVALID', `${device} is no device`, { path: device });
  let source = device;
  if (plan.uid !== undefined && plan.capabilities.length === 0 && !mayUse(seen, plan.uid, plan.groups)) {
    const { type, major, minor } = seen.device;
    source = path.join(root, ownNode(ownName));
    await inNamespace(vmm, plan, 'mknod', ['-m', '666', source, type, `${major}`, `${minor}`], call);
  }
  await inNamespace(vmm, plan, 'mount', ['-o', 'bind', '--', source, path.join(root, placeOf(root, as))], call);
}

/** Where the name leads to in the jail: to itself, or to a node of the VMM's own. It is made where there is none. */
function placeOf(root: string, as: string): string {
  const there = lstatSync(path.join(root, as), { throwIfNoEntry: false });
  if (there?.isSymbolicLink() === true) return readlinkSync(path.join(root, as));
  makeMountPoint(root, as, 'file');
  return as;
}

/**
 * Takes away what stands there for another device, also when a process that was killed has left it.
 * @throws {VmError} HOST_MISSING, IO
 */
export async function endStandIn(vmm: RunningVmm, as: string): Promise<void> {
  const plan = readConfinement(vmm.stateFolder);
  if (plan?.jail === undefined) return;
  const root = vmFiles.jail(vmm.stateFolder);
  const places = [as, ownNode(as)];
  for (const line of mountsOf(vmm)) {
    // Fields 4 and 5 of proc_pid_mountinfo(5): what of its file system is mounted, and where.
    const [, , , what = '', where = ''] = line.split(' ');
    const place = places.find((one) => escaped(one) === where);
    if (place === undefined || places.some((one) => path.basename(one) === path.basename(what))) continue;
    await inNamespace(vmm, plan, 'umount', ['--lazy', '--', path.join(root, place)], {});
  }
  // The place that was made for it. A link leads to a node that stays.
  if (lstatSync(path.join(root, as), { throwIfNoEntry: false })?.isFile() === true) removePlaces(vmm, plan, as);
  try {
    // The file system with such nodes is in the VMM's namespace alone.
    if (plan.uid !== undefined)
      unlinkSync(path.join(`/proc/${vmm.pid}/root`, ownDevices, path.basename(ownNode(ownName))));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT')
      throw new VmError('IO', `can't clear the VMM's jail: ${message}`, { errno: code, cause: error });
  }
}

/** None of a VMM that has ended. */
function mountsOf({ pid }: RunningVmm): string[] {
  try {
    return readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n');
  } catch {
    return [];
  }
}
