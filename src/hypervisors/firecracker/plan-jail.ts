import path from 'node:path';
import { assetPath } from '../../config/assets.ts';
import { VmError } from '../../errors.ts';
import type { CgroupHost } from '../../confinement/cgroup-host.ts';
import { logBytes, memoryLimitMiB } from '../../confinement/confinement-plan.ts';
import { maxSocketPathBytes, vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';

/*
 * The jailer is Firecracker's own way of confinement: it copies the VMM into a folder, makes that folder the VMM's root, gives it a uid,
 * a cgroup and a network namespace, and becomes the VMM. Where it is named (`jailerPath`), it is the confinement. Its folder is in ours,
 * `<runtime>/<name of the program>/<id>/root`; what the VMM is to open must be put in there (control-jail.ts).
 */

/** Cgroup below which each VM has one of its own, named by its id. */
const parentCgroup = 'polyvisor';

/** Descriptors that a jailed Firecracker may have: disks, taps, queues and connections of the guest. */
const maxDescriptors = 4096;

/** What bounds the id of a VM for the jailer (validate_instance_id in Firecracker's sources). */
const idPattern = /^[A-Za-z0-9-]{1,64}$/;

/** The folder that Firecracker starts in: all its files are there, and what it is told is relative to it. */
export function workFolder(context: VmContext, binary: string): string {
  if (assetPath(context.config, 'jailer') === undefined) return context.runtimeFolder;
  return path.join(context.runtimeFolder, path.basename(binary), context.id, 'root');
}

/** Where the jailer makes the cgroups of a VM, one folder for each controller that is limited. */
export function jailCgroups(id: string, host: CgroupHost): string[] {
  return [...new Set(Object.values(host.parents))].map((folder) => path.join(folder, parentCgroup, id));
}

/**
 * The arguments of the jailer, up to those of Firecracker itself.
 * @param largestFileBytes see LaunchPlan
 * @throws {VmError} INVALID_ARGUMENT for an id that it does not take, or where sockets would have too long paths
 */
export function jailerArgv(
  context: VmContext,
  binary: string,
  { cgroups, largestFileBytes, uid }: { cgroups: CgroupHost | undefined; largestFileBytes: number; uid: number },
): string[] {
  const { id, networkNamespace, runtimeFolder } = context;
  requireJailable(context, binary);
  return [
    ...['--id', id, '--exec-file', binary, '--uid', `${uid}`, '--gid', `${uid}`, '--chroot-base-dir', runtimeFolder],
    ...(networkNamespace === undefined ? [] : ['--netns', networkNamespace]),
    ...(cgroups === undefined ? [] : cgroupArgv(context, cgroups)),
    ...['--resource-limit', `no-file=${maxDescriptors}`],
    ...['--resource-limit', `fsize=${Math.max(logBytes, largestFileBytes)}`],
    '--',
  ];
}

function cgroupArgv({ config }: VmContext, { version, parents }: CgroupHost): string[] {
  const memoryMiB = memoryLimitMiB({ memoryMiB: config.memoryMiB, emulated: false });
  const limits = [`pids.max=${config.vcpus + 64}`];
  // Memory that is plugged later would be beyond it, and huge pages are not counted by it.
  if (!config.virtioMem)
    limits.push(`${version === 2 ? 'memory.max' : 'memory.limit_in_bytes'}=${memoryMiB * 2 ** 20}`);
  const offered = limits.filter((limit) => parents[limit.split('.')[0] as 'memory' | 'pids'] !== undefined);
  return [
    ...['--cgroup-version', String(version), '--parent-cgroup', parentCgroup],
    ...offered.flatMap((limit) => ['--cgroup', limit]),
  ];
}

function requireJailable(context: VmContext, binary: string): void {
  if (!idPattern.test(context.id))
    throw new VmError(
      'INVALID_ARGUMENT',
      `the jailer takes ids of 1 to 64 letters, digits and hyphens, not ${context.id}`,
      {
        field: 'id',
      },
    );
  const longest = `${vmmFiles.vsockSocket(workFolder(context, binary))}_65535`;
  if (Buffer.byteLength(longest) <= maxSocketPathBytes) return;
  throw new VmError(
    'INVALID_ARGUMENT',
    `the socket ${longest} in the jail would have a path over ${maxSocketPathBytes} bytes`,
    {
      path: longest,
      advice: 'Choose a shorter runtime folder: XDG_RUNTIME_DIR or POLYVISOR_HOME.',
    },
  );
}
