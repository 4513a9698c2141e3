import { assetPath } from '../../config/assets.ts';
import { deserializeParams, serializeParams } from '../../config/kernel-params.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import { rootParams } from '../root-params.ts';
import type { LaunchPlan, PlannedPath, PlannedRequest } from '../launch-plan.ts';
import { deviceLists, isPmem, isShared, type OwnDevice, pathsOf } from './devices.ts';
import { extraArgv, landlockRules } from './plan-params.ts';
import { has } from './probe-versions.ts';
import { zoneId } from './state-mapped.ts';
import type { VmConfig } from './wire.ts';

/** The guest's context id: each VMM ends vsock by itself, so all guests may have the same. */
const guestCid = 3;
/** Name of the device that shows the root image. */
const rootId = 'rootfs';
/** Memory that can be plugged comes in slots of this size (`HOTPLUG_ALIGNMENT` in its sources: 128 MiB). */
const memorySlotMiB = 128;

const mib = 2 ** 20;

/** What a plan is made of beside the configuration: nothing for one that is only looked at. */
export interface Found {
  /** of the Cloud Hypervisor that was found */
  version?: string | undefined;
  devices: readonly OwnDevice[];
  /** the guest goes on from a snapshot: nothing is created and booted, and these are opened */
  restores?: readonly PlannedPath[] | undefined;
}

/** What Cloud Hypervisor is told: a pure function. The API gets the requests in their order, and boots the guest with the last. */
export function plan(context: VmContext, binary: string): LaunchPlan {
  return planWith(context, binary, { devices: [] });
}

/** @throws {VmError} INVALID_CONFIG, HYPERVISOR_TOO_OLD for what this Cloud Hypervisor has not */
export function planWith(context: VmContext, binary: string, found: Found): LaunchPlan {
  const { config, runtimeFolder, networkNamespace } = context;
  checkConfig(config, found.version);
  const requests: PlannedRequest[] = [
    { method: 'PUT', target: '/api/v1/vm.create', body: vmConfig(context, found.devices) },
    { method: 'PUT', target: '/api/v1/vm.boot' },
  ];
  return {
    binary,
    argv: [
      ...['--api-socket', `path=${vmmFiles.apiSocket(runtimeFolder)}`],
      ...['--event-monitor', `path=${vmmFiles.eventsOut(runtimeFolder)}`],
      ...['--seccomp', 'true'],
      config.debug ? '-vv' : '-v',
      ...extraArgv(config),
    ],
    env: {},
    files: [vmmFiles.console(runtimeFolder), vmmFiles.eventsOut(runtimeFolder)].map((path) => ({
      path,
      content: '',
      mode: 0o600,
    })),
    requests: found.restores === undefined ? requests : [],
    paths: [...paths(context, found.devices), ...(found.restores ?? [])],
    networkNamespace,
    // Disks are plugged later, of any size.
    largestFileBytes: 'unlimited',
    // Such a device writes into the guest's memory, which must stay where it is.
    lockMemory: found.devices.some(({ kind }) => kind === 'vfio'),
  };
}

/** How much memory can be plugged in all, in MiB. */
export function pluggableMiB({ config, hostMemoryMiB }: Pick<VmContext, 'config' | 'hostMemoryMiB'>): number {
  return Math.floor(Math.max(0, hostMemoryMiB - config.memoryMiB) / memorySlotMiB) * memorySlotMiB;
}

function checkConfig(config: HypervisorConfig, version: string | undefined): void {
  const { useVsock, sharedFs, blockDeviceDriver, hugePages, memoryMiB } = config;
  const refuse = (field: string, problem: string): VmError => new VmError('INVALID_CONFIG', problem, { field });
  if (!useVsock)
    throw refuse('useVsock', "useVsock must be true: Cloud Hypervisor's only way to the guest agent is a vsock");
  if (sharedFs !== 'virtio-fs') throw refuse('sharedFs', 'sharedFs must be virtio-fs: Cloud Hypervisor has no 9p');
  if (blockDeviceDriver !== 'virtio-blk' && blockDeviceDriver !== 'nvdimm')
    throw refuse(
      'blockDeviceDriver',
      `blockDeviceDriver of Cloud Hypervisor must be virtio-blk or nvdimm, not ${blockDeviceDriver}`,
    );
  if (hugePages && memoryMiB % 2 !== 0)
    throw refuse('memoryMiB', `memoryMiB must be even with hugePages, which are of 2 MiB, not ${memoryMiB}`);
  if (config.bootToBeTemplate && config.virtioFsDaemon !== undefined)
    throw refuse('virtioFsDaemon', 'virtioFsDaemon does not go with templates: it needs memory shared with its daemon');
  if (landlockRules(config) !== undefined && version !== undefined && !has(version, 'landlock'))
    throw new VmError('HYPERVISOR_TOO_OLD', `Cloud Hypervisor ${version} has no Landlock: 42.0 has`, {
      field: 'hypervisorParams',
    });
}

function vmConfig(context: VmContext, devices: readonly OwnDevice[]): VmConfig {
  const { config, runtimeFolder } = context;
  const initrd = assetPath(config, 'initrd');
  const root = rootImage(config);
  return {
    cpus: {
      boot_vcpus: config.vcpus,
      max_vcpus: config.maxVcpus,
      topology: { threads_per_core: 1, cores_per_die: config.maxVcpus, dies_per_package: 1, packages: 1 },
    },
    memory: memory(context),
    payload: {
      kernel: assetPath(config, 'kernel') ?? '',
      ...(initrd === undefined ? {} : { initramfs: initrd }),
      cmdline: kernelLine(config),
    },
    serial: { mode: 'File', file: vmmFiles.console(runtimeFolder) },
    console: { mode: 'Pty' },
    rng: { src: config.entropySource },
    ...(config.reclaimGuestFreedMemory
      ? { balloon: { size: 0, deflate_on_oom: true, free_page_reporting: true } }
      : {}),
    vsock: { cid: guestCid, socket: vmmFiles.vsockSocket(runtimeFolder) },
    ...deviceLists([...(root === undefined ? [] : [root]), ...devices], context),
    ...landlock(context, devices.filter(({ kind }) => kind === 'vfio').flatMap(pathsOf)),
  };
}

function memory(context: VmContext): VmConfig['memory'] {
  const { config } = context;
  if (config.bootToBeTemplate) return templateMemory(config);
  const hotplugMiB = pluggableMiB(context);
  return {
    size: config.memoryMiB * mib,
    hotplug_method: config.virtioMem ? 'VirtioMem' : 'Acpi',
    ...(hotplugMiB === 0 ? {} : { hotplug_size: hotplugMiB * mib }),
    shared: isShared(config),
    hugepages: config.hugePages,
    prefault: config.memPrealloc,
  };
}

/** A file that holds all of it: what is in there is in no snapshot, and clones map it privately. Such memory can't grow by ACPI. */
function templateMemory({ memoryMiB, memoryPath = '' }: HypervisorConfig): VmConfig['memory'] {
  const zone = { id: zoneId, size: memoryMiB * mib, file: memoryPath, shared: true };
  return { size: 0, hotplug_method: 'Acpi', shared: false, hugepages: false, prefault: false, zones: [zone] };
}

/** Read-only: several VMs may have the same. */
function rootImage(config: HypervisorConfig): OwnDevice | undefined {
  const path = assetPath(config, 'image');
  if (path === undefined) return undefined;
  const driver = config.disableImageNvdimm ? 'virtio-blk' : 'nvdimm';
  return { kind: 'block', id: rootId, path, format: 'raw', readOnly: true, driver };
}

/**
 * Landlock, where it is asked for. What its configuration names Cloud Hypervisor adds by itself, but for the group of a device that is
 * handed through (53.0 takes the device's address for its number); what it opens later lies in its own folder, is a tap, or is named by the
 * user.
 * @param opened what else it opens at its start
 */
export function landlock(
  { config, runtimeFolder }: Pick<VmContext, 'config' | 'runtimeFolder'>,
  opened: readonly PlannedPath[],
): Pick<VmConfig, 'landlock_enable' | 'landlock_rules'> {
  const rules = landlockRules(config);
  if (rules === undefined) return {};
  const own = [runtimeFolder, '/dev/net/tun'].map((path) => ({ path, access: 'rw' as const }));
  const others = opened.map(({ path, access }) => ({
    path,
    access: access === 'read' ? ('r' as const) : ('rw' as const),
  }));
  return { landlock_enable: true, landlock_rules: [...own, ...others, ...rules] };
}

/** What it opens beside its own folder. */
function paths({ config }: VmContext, devices: readonly OwnDevice[]): PlannedPath[] {
  const assets = (['kernel', 'initrd', 'image'] as const)
    .map((type) => assetPath(config, type))
    .filter((path) => path !== undefined);
  const memory = config.bootToBeTemplate ? config.memoryPath : undefined;
  return [
    ...assets.map((path): PlannedPath => ({ path, access: 'read' })),
    ...devices.flatMap(pathsOf),
    ...(landlockRules(config) ?? []).map(({ path, access }): PlannedPath => ({
      path,
      access: access === 'r' ? 'read' : 'write',
    })),
    ...(memory === undefined ? [] : [{ path: memory, access: 'write' } as const]),
    { path: '/dev/kvm', access: 'write' },
    { path: config.entropySource, access: 'read' },
    // The console is a pseudo-terminal of the host's.
    { path: '/dev/ptmx', access: 'write' },
    { path: '/dev/pts', access: 'read' },
    // It asks there for the name of the terminal that it has made.
    { path: '/proc', access: 'read' },
    // A rule can name only what it sees when it starts; without rules a card that is plugged brings it.
    ...(landlockRules(config) === undefined
      ? []
      : [{ path: '/dev/net/tun', access: 'write', optional: true } as const]),
  ];
}

/** Ours first, so that the configuration's parameters win. The guest's log is the serial line, its shell the virtio console. */
function kernelLine(config: HypervisorConfig): string {
  const given = new Set(config.kernelParams.map(({ key }) => key));
  const root = rootImage(config);
  const device = root !== undefined && isPmem(root, config) ? '/dev/pmem0' : '/dev/vda';
  const ours = [
    'console=ttyS0',
    'polyvisor_console=/dev/hvc0',
    'reboot=t',
    'panic=-1',
    `nr_cpus=${config.maxVcpus}`,
    'tsc=reliable',
    'net.ifnames=0',
    ...rootParams(config, device),
    config.debug ? 'debug' : 'quiet',
  ];
  const missing = deserializeParams(ours).filter(({ key }) => !given.has(key) || key === 'console');
  return serializeParams([...missing, ...config.kernelParams], '=').join(' ');
}
