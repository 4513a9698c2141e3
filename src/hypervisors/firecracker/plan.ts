import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { CgroupHost } from '../../confinement/cgroup-host.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import { uidRange } from '../../state/uid-range.ts';
import type { VmContext } from '../hypervisor.ts';
import { rootParams } from '../root-params.ts';
import type { LaunchPlan, PlannedPath, PlannedRequest } from '../launch-plan.ts';
import { addRequest, pathsOf, type Placed, poolName, poolRequests, poolSize } from './devices.ts';
import { jailerArgv, workFolder } from './plan-jail.ts';
import { has } from './probe-versions.ts';
import { extraArgv, mmdsContent, tracksDirtyPages } from './plan-params.ts';
import type { BootSource, MachineConfiguration, SnapshotLoad } from './wire.ts';

/** The guest's context id: each Firecracker ends vsock by itself, so all guests may have the same. */
const guestCid = 3;

/** KVM takes hotpluggable memory in slots of 128 MiB (Firecracker, docs/memory-hotplug.md), the guest in blocks of 2 MiB. */
const memorySlotMiB = 128;

/** What a plan is made of beside the configuration: nothing for one that is only looked at. */
export interface Found {
  /** of the Firecracker that was found */
  version?: string | undefined;
  devices: readonly Placed[];
  /** of its own, in the jail */
  uid?: number | undefined;
  /** where the jailer can make cgroups */
  cgroups?: CgroupHost | undefined;
  /** the guest goes on from a snapshot: nothing is booted, and these files are opened, which the VMM's folder leads to */
  restores?: { paths: readonly PlannedPath[]; goesOn: boolean } | undefined;
}

/** Names in the VMM's folder of what a jailed Firecracker is given. */
export const jailedNames = { kernel: 'kernel', initrd: 'initrd', image: 'image' } as const;
/** Names in the VMM's folder of a snapshot's parts, and of what is written for its side effect. */
export const snapshotNames = { memory: 'snapshot.mem', state: 'snapshot.state', unused: 'unused.state' } as const;

/** What Firecracker is told: a pure function. The API gets the requests in their order, and starts the guest with the last. */
export function plan(context: VmContext, binary: string): LaunchPlan {
  return planWith(context, binary, { devices: [] });
}

/** @throws {VmError} INVALID_CONFIG, INVALID_ARGUMENT for what Firecracker or its jailer would refuse */
export function planWith(context: VmContext, binary: string, found: Found): LaunchPlan {
  checkConfig(context.config);
  const folder = workFolder(context, binary);
  const jailer = assetPath(context.config, 'jailer');
  const largestFileBytes = largestFile(context, found.devices);
  const own = [...(usesPci(context.config) ? ['--enable-pci'] : []), ...extraArgv(context.config)];
  const { cgroups, uid = uidRange().first } = found;
  const jailed = jailer === undefined ? [] : jailerArgv(context, binary, { cgroups, uid, largestFileBytes });
  const socket = jailer === undefined ? vmmFiles.apiSocket(folder) : 'api.sock';
  const argv =
    jailer === undefined
      ? ['--id', context.id, '--api-sock', socket, ...own]
      : [...jailed, '--api-sock', socket, ...own];
  return {
    binary: jailer ?? binary,
    argv,
    env: {},
    files: [
      vmmFiles.console(folder),
      vmmFiles.metrics(folder),
      ...(hasPool(context.config)
        ? Array.from({ length: poolSize }, (_, index) => `${folder}/${poolName(index)}`)
        : []),
    ].map((path) => ({ path, content: '', mode: 0o600 })),
    requests: found.restores === undefined ? bootRequests(context, found) : restoreRequests(context, found.restores),
    paths: jailer === undefined ? [...paths(context, found.devices), ...(found.restores?.paths ?? [])] : [],
    workingFolder: jailer === undefined ? folder : undefined,
    // The jailer enters it by itself.
    networkNamespace: jailer === undefined ? context.networkNamespace : undefined,
    confinesItself: jailer !== undefined,
    largestFileBytes,
  };
}

/** Whether the devices are on a PCI bus; on `mmio` they are announced by ACPI, each at its address, and stay. */
export function usesPci({ machineType }: HypervisorConfig): boolean {
  return machineType !== 'mmio';
}

/** Whether disks can be swapped into drives that are there from the start, as virtcontainers does it. */
export function hasPool(config: HypervisorConfig): boolean {
  return !config.disableBlockDeviceUse;
}

/** Whether devices can be plugged into a running guest. */
export function plugsDevices(config: HypervisorConfig, version: string | undefined): boolean {
  return usesPci(config) && has(version, 'pciHotplug');
}

/** How much memory can be plugged in all, in MiB. */
export function pluggableMiB({ config, hostMemoryMiB }: VmContext): number {
  const roomMiB = Math.max(0, hostMemoryMiB - config.memoryMiB);
  return config.virtioMem ? Math.floor(roomMiB / memorySlotMiB) * memorySlotMiB : 0;
}

function checkConfig({ useVsock, machineType, hugePages, memoryMiB }: HypervisorConfig): void {
  const refuse = (field: string, problem: string): VmError => new VmError('INVALID_CONFIG', problem, { field });
  if (!useVsock)
    throw refuse('useVsock', "useVsock must be true: Firecracker's only way to the guest agent is a vsock");
  if (machineType !== 'pci' && machineType !== 'mmio')
    throw refuse('machineType', `machineType of Firecracker must be pci or mmio, not ${machineType}`);
  if (hugePages && memoryMiB % 2 !== 0)
    throw refuse('memoryMiB', `memoryMiB must be even with hugePages, which are of 2 MiB, not ${memoryMiB}`);
}

function common({ config }: VmContext): PlannedRequest[] {
  return [
    // Onto its stdout, which is the VMM's log.
    put('/logger', { level: config.debug ? 'Debug' : 'Warning', show_level: true }),
    put('/metrics', { metrics_path: 'metrics.json' }),
    put('/serial', { serial_out_path: 'console.log' }),
  ];
}

function bootRequests(context: VmContext, found: Found): PlannedRequest[] {
  const { config } = context;
  const image = assetPath(config, 'image');
  const totalMiB = pluggableMiB(context);
  const networks = found.devices.filter(({ device }) => device.kind === 'net').map(({ name }) => name);
  const mmds = mmdsContent(config);
  const balloon = { amount_mib: 0, deflate_on_oom: true, free_page_reporting: true };
  return [
    ...common(context),
    put('/machine-config', machine(config)),
    put('/boot-source', boot(context)),
    ...(image === undefined ? [] : [put('/drives/rootfs', rootDrive(config))]),
    ...found.devices.map((placed) => addRequest(placed, context)),
    ...(hasPool(config) ? poolRequests() : []),
    put('/vsock', { guest_cid: guestCid, uds_path: 'vsock.sock' }),
    put('/entropy', {}),
    ...(config.reclaimGuestFreedMemory ? [put('/balloon', balloon)] : []),
    ...(totalMiB === 0 ? [] : [put('/hotplug/memory', { total_size_mib: totalMiB })]),
    ...(mmds === undefined || networks.length === 0
      ? []
      : [put('/mmds/config', { version: 'V2', network_interfaces: networks }), put('/mmds', mmds)]),
    put('/actions', { action_type: 'InstanceStart' }),
  ];
}

/** The guest is as it is to be when the last is answered. Logger, metrics and serial are no part of a snapshot. */
function restoreRequests(context: VmContext, { goesOn }: { goesOn: boolean }): PlannedRequest[] {
  const load: SnapshotLoad = {
    snapshot_path: snapshotNames.state,
    mem_backend: { backend_type: 'File', backend_path: snapshotNames.memory },
    track_dirty_pages: tracksDirtyPages(context.config),
    resume_vm: goesOn,
  };
  return [...common(context), put('/snapshot/load', load)];
}

function put(target: string, body: unknown): PlannedRequest {
  return { method: 'PUT', target, body };
}

/** Read-only: several VMs may have the same. */
function rootDrive({ initrd, customAssets }: HypervisorConfig): object {
  // A boot initrd mounts it by itself; else the kernel is told to.
  const mountedByKernel = initrd === undefined && customAssets?.initrd === undefined;
  return {
    drive_id: 'rootfs',
    is_root_device: mountedByKernel,
    is_read_only: true,
    cache_type: 'Unsafe',
    path_on_host: jailedNames.image,
  };
}

/** What it opens beside its own folder; links in that lead to disks and image. */
function paths({ config }: VmContext, devices: readonly Placed[]): PlannedPath[] {
  const assets = (['kernel', 'initrd', 'image'] as const).map((type) => assetPath(config, type));
  return [
    ...assets.filter((path) => path !== undefined).map((path): PlannedPath => ({ path, access: 'read' })),
    ...devices.flatMap(({ device }) => pathsOf(device)),
    { path: '/dev/kvm', access: 'write' },
    { path: '/dev/urandom', access: 'read', optional: true },
    { path: '/dev/userfaultfd', access: 'write', optional: true },
  ];
}

/** Snapshots hold all memory in one file; a disk may be larger still. */
function largestFile(context: VmContext, devices: readonly Placed[]): number {
  const memory = (context.config.memoryMiB + pluggableMiB(context)) * 2 ** 20;
  return Math.max(memory, ...devices.map(({ sizeBytes = 0 }) => sizeBytes));
}

function machine(config: HypervisorConfig): MachineConfiguration {
  return {
    vcpu_count: config.vcpus,
    mem_size_mib: config.memoryMiB,
    smt: false,
    huge_pages: config.hugePages ? '2M' : 'None',
    track_dirty_pages: tracksDirtyPages(config),
  };
}

function boot(context: VmContext): BootSource {
  const { config } = context;
  const jailed = assetPath(config, 'jailer') !== undefined;
  const [kernel, initrd] = [assetPath(config, 'kernel'), assetPath(config, 'initrd')];
  return {
    kernel_image_path: jailed ? jailedNames.kernel : (kernel ?? ''),
    ...(initrd === undefined ? {} : { initrd_path: jailed ? jailedNames.initrd : initrd }),
    boot_args: kernelLine(context),
  };
}

/** Ours first, so that the configuration's parameters win. `reboot=k`: the keyboard controller is all that Firecracker listens to for it. */
function kernelLine({ config }: VmContext): string {
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const ours = [
    'console=ttyS0',
    'reboot=k',
    'panic=-1',
    // It has no power-off: the agent resets the guest instead.
    'polyvisor_poweroff=reset',
    `nr_cpus=${config.vcpus}`,
    'tsc=reliable',
    'net.ifnames=0',
    ...(assetPath(config, 'initrd') === undefined ? [] : rootParams(config, '/dev/vda')),
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  return serializeParams([...missing, ...config.kernelParams], '=').join(' ');
}
