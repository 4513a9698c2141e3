import { assetPath } from '../../config/assets.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { BlockDevice, Device, FsDevice, NamedDevice } from '../device.ts';
import { sysfsFolder } from '../device-host.ts';
import type { PlannedPath } from '../launch-plan.ts';
import { fsDriver } from './devices-kinds.ts';
import { deviceArgument, object, quoted } from './devices-parts.ts';
import { blockDriver, bridges, canLeave, machineFamily, type Placed, rootBus, rootPorts } from './devices-place.ts';

/** How many processes can talk with the guest's agent at once: one virtio-serial port each. */
export const agentPorts = 8;

/** Name of the disk that the guest's root is on. */
export const rootId = 'rootfs';

/** Ids that are not for devices of the caller: the machine's own parts have them, or will. */
const ownIds =
  /^(serial\d|scsi\d|channel\d|rng|balloon0|genid0|virtiomem0|pci-bridge-\d|rp\d+|dimm\d+|cpu-\d+|rootfs)$/;

/** The root image as a disk, which is only read: several VMs may have the same. Undefined for a guest that has it in its initrd. */
export function rootDisk(config: HypervisorConfig): BlockDevice | undefined {
  const path = assetPath(config, 'image');
  if (path === undefined) return undefined;
  return { kind: 'block', id: rootId, path, format: 'raw', readOnly: true, driver: 'virtio-blk' };
}

/** Where the root image is: the first place of the first bridge, so that the guest finds it as its first disk. */
export function placedRoot(config: HypervisorConfig): Placed[] {
  const device = rootDisk(config);
  if (device === undefined) return [];
  const [bridge] = bridges(config);
  return [{ device, place: bridge === undefined ? { bus: 'mmio', slot: 0 } : { bus: bridge.id, slot: 1 } }];
}

/**
 * Refuses what QEMU, or this machine, does not have, instead of leaving it out.
 * @throws {VmError} UNSUPPORTED, INVALID_CONFIG or INVALID_ARGUMENT naming the field
 */
export function requireOffered(device: Device, config: HypervisorConfig): asserts device is NamedDevice {
  switch (device.kind) {
    case 'block':
      requireDisk(device, config);
      break;
    case 'net':
      refuseIf(
        device.rateLimit !== undefined,
        'rateLimit',
        'it limits no networks; shape the tap on the host (`tc qdisc`)',
      );
      break;
    case 'fs':
      requireFolder(device, config);
      break;
    case 'vhost-user':
      requireShared(config, 'a vhost-user device');
      break;
    case 'serial-port':
    case 'vsock':
    case 'vfio':
      break;
    default:
      throw new VmError('UNSUPPORTED', `QEMU has no ${device.kind} that can be added`, { field: 'kind' });
  }
  if (ownIds.test(device.id))
    throw new VmError('INVALID_ARGUMENT', `the id ${device.id} is taken: a part of the machine has it`, {
      field: 'id',
      advice: 'Choose another.',
    });
}

function requireDisk(device: BlockDevice, config: HypervisorConfig): void {
  if (config.disableBlockDeviceUse) {
    throw new VmError('INVALID_CONFIG', 'disableBlockDeviceUse forbids block devices', {
      field: 'disableBlockDeviceUse',
    });
  }
  refuseIf(
    device.driver === undefined && config.blockDeviceDriver === 'virtio-blk-ccw',
    'driver',
    'virtio-blk-ccw is for the channel subsystem of s390x',
  );
  const driver = blockDriver(device, config);
  refuseIf(driver !== 'virtio-blk' && device.ioThread === true, 'ioThread', `a disk on ${driver} has none of its own`);
  if (driver !== 'nvdimm') return;
  refuseIf(device.format !== 'raw', 'format', 'an nvdimm is mapped into memory');
  refuseIf(device.serial !== undefined, 'serial', 'an nvdimm has none');
  refuseIf(device.cache?.direct === true, 'cache.direct', "an nvdimm is the host's page cache");
  refuseIf(device.aio !== undefined, 'aio', 'an nvdimm is memory');
  refuseIf(device.rateLimit !== undefined, 'rateLimit', 'an nvdimm is memory');
  if (config.blockDeviceDriver === 'nvdimm') return;
  throw new VmError('INVALID_CONFIG', 'this VM was made without a place for nvdimms', {
    field: 'blockDeviceDriver',
    advice: 'Make it with `blockDeviceDriver: nvdimm`.',
  });
}

function requireFolder(device: FsDevice, config: HypervisorConfig): void {
  refuseIf(device.daxSizeMiB !== undefined, 'daxSizeMiB', 'its releases have no window for direct access');
  if (fsDriver(device, config) === 'virtio-9p') {
    refuseIf(device.cache !== undefined, 'cache', 'that is of virtio-fs');
    return;
  }
  requireShared(config, 'a folder by virtio-fs');
  if (config.virtioFsDaemon !== undefined) return;
  throw new VmError('INVALID_CONFIG', 'a folder by virtio-fs needs its daemon: virtioFsDaemon is not set', {
    field: 'virtioFsDaemon',
  });
}

/** Another process can map the guest's memory only if that was so from the start. */
function requireShared(config: HypervisorConfig, what: string): void {
  if (sharesMemory(config)) return;
  throw new VmError('INVALID_CONFIG', `${what} needs memory that another process can map, which this VM has not`, {
    field: 'sharedFs',
    advice: 'Make it with `sharedFs: virtio-fs` (and `virtioFsDaemon`), or with `enableVhostUserStore`.',
  });
}

/** Whether other processes serve devices out of the guest's memory. */
export function sharesMemory({ sharedFs, enableVhostUserStore }: HypervisorConfig): boolean {
  return sharedFs === 'virtio-fs' || enableVhostUserStore;
}

function refuseIf(wrong: boolean, field: string, reason: string): void {
  if (wrong) throw new VmError('UNSUPPORTED', `QEMU can't have this ${field}: ${reason}`, { field });
}

/** @throws {VmError} UNSUPPORTED on a machine into which nothing can be plugged, or nothing of this kind */
export function requirePlugging(
  { machineType, virtioMem }: HypervisorConfig,
  operation: string,
  kind: Device['kind'],
): void {
  const family = machineFamily(machineType);
  const refuse = (why: string, advice: string): never => {
    throw new VmError('UNSUPPORTED', `${operation} is not supported on qemu: the machine type ${family} ${why}`, {
      operation,
      advice,
    });
  };
  if (family === 'microvm') refuse('has no hot-plug', 'Use the machine type q35 or pc.');
  if (family !== 'virt') return;
  if (kind === 'cpu') refuse('has as many vCPUs as it starts with', 'Make the VM with as many as it will need.');
  // Memory modules are told by ACPI, which takes firmware.
  if (kind === 'memory' && !virtioMem) refuse('takes no memory modules', 'Make the VM with `virtioMem`.');
}

/**
 * Refuses what can't come while the guest runs.
 * @throws {VmError} UNSUPPORTED
 */
export function requirePluggable(device: NamedDevice, config: HypervisorConfig): void {
  if (device.kind !== 'fs' || fsDriver(device, config) !== 'virtio-9p') return;
  throw new VmError(
    'UNSUPPORTED',
    `${device.id} can't be plugged into a running VM: QEMU shares folders by 9p from its start on`,
    {
      operation: 'hotplugAddDevice',
      advice: 'Share it by virtio-fs, or name it when the VM is made.',
    },
  );
}

/** Whether a device's state is in the stream of a saved VM, so that it can be there again when that goes on. */
export function isSaved({ device }: Placed, config: HypervisorConfig): boolean {
  if (device.kind === 'block') return blockDriver(device, config) !== 'nvdimm';
  return device.kind === 'net' || device.kind === 'controller' || device.kind === 'serial-port';
}

/** @throws {VmError} UNSUPPORTED for a device that stays once it is there */
export function requireRemovable(placed: Placed, config: HypervisorConfig): void {
  const { device } = placed;
  if (!canLeave(placed, config))
    throw new VmError('UNSUPPORTED', `${device.id} stays: on this machine only what is on a root port can leave`, {
      operation: 'hotplugRemoveDevice',
      advice: 'Make the VM with more `pcieRootPorts`.',
    });
  if (device.kind !== 'block' || blockDriver(device, config) !== 'nvdimm') return;
  throw new VmError('UNSUPPORTED', `${device.id} is an nvdimm, which QEMU can't take away again`, {
    operation: 'hotplugRemoveDevice',
  });
}

/** What QEMU opens to get a tap device, whatever its name. */
export const tapMaker = '/dev/net/tun';

/** What QEMU opens for a device: nothing for one whose files another process serves. */
export function pathsOf({ device, node }: Pick<Placed, 'device' | 'node'>, config: HypervisorConfig): PlannedPath[] {
  switch (device.kind) {
    case 'block': {
      const own: PlannedPath = { path: device.path, access: device.readOnly ? 'read' : 'write' };
      return device.backing === undefined ? [own] : [own, { path: device.backing.path, access: 'read' }];
    }
    case 'fs':
      if (fsDriver(device, config) === 'virtio-fs') return [];
      return [
        { path: device.path, access: device.readOnly ? 'read' : 'write' },
        // It sets the attributes of what the guest makes by /proc/self/fd (fsetxattrat_nofollow in hw/9pfs/9p-util-linux.c).
        { path: '/proc', access: 'read' },
      ];
    case 'net':
      if (device.tap === undefined) return [{ path: '/etc/resolv.conf', access: 'read', optional: true }];
      return [
        // A macvtap is opened by others, or for the time of the opening only (control-attach.ts).
        ...(device.tapType === 'macvtap' ? [] : [{ path: tapMaker, access: 'write' } as const]),
        ...(device.vhost === true ? [{ path: '/dev/vhost-net', access: 'write' } as const] : []),
      ];
    case 'vhost-user':
      return [{ path: device.socket, access: 'write' }];
    case 'vsock':
      return [{ path: '/dev/vhost-vsock', access: 'write' }];
    case 'vfio':
      return [
        { path: '/dev/vfio/vfio', access: 'write' },
        ...(node === undefined ? [] : [{ path: node, access: 'write' } as const]),
        // It reads there which group that is, and more.
        { path: sysfsFolder(device), access: 'read' },
      ];
    case 'controller':
    case 'serial-port':
    case 'hybrid-vsock':
      return [];
  }
}

/** The devices that every guest has: bridges and ports for what is plugged later, agent ports, entropy. */
export function bootDevices(config: HypervisorConfig, runtimeFolder: string): string[] {
  const suffix = machineFamily(config.machineType) === 'microvm' ? 'device' : 'pci';
  const argv = buses(config);
  argv.push(...deviceArgument({ driver: `virtio-serial-${suffix}`, id: 'serial0', max_ports: agentPorts + 1 }));
  for (let port = 0; port < agentPorts; port++) {
    const path = quoted(vmmFiles.agentSocket(runtimeFolder, port));
    argv.push('-chardev', `socket,id=charch${port},path=${path},server=on,wait=off`);
    argv.push(
      ...deviceArgument({
        driver: 'virtserialport',
        chardev: `charch${port}`,
        id: `channel${port}`,
        name: `agent.channel.${port}`,
      }),
    );
  }
  argv.push(...object({ 'qom-type': 'rng-random', id: 'rng0', filename: config.entropySource }));
  argv.push(...deviceArgument({ driver: `virtio-rng-${suffix}`, rng: 'rng0', id: 'rng' }));
  return argv;
}

/** Bridges and root ports, which are numbered together. */
function buses(config: HypervisorConfig): string[] {
  const bus = rootBus(config.machineType);
  const between = bridges(config);
  return [
    ...between.flatMap(({ id, at }, index) =>
      deviceArgument({ driver: 'pci-bridge', bus, id, chassis_nr: index + 1, shpc: true, addr: at.toString(16) }),
    ),
    ...rootPorts(config).flatMap(({ id, at }, index) =>
      deviceArgument({
        driver: 'pcie-root-port',
        bus,
        id,
        chassis: between.length + index + 1,
        slot: index,
        addr: at.toString(16),
      }),
    ),
  ];
}
