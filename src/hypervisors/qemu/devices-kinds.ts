import { createHash } from 'node:crypto';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { VmContext } from '../hypervisor.ts';
import { vmmFiles } from '../../state/paths.ts';
import {
  type FsDevice,
  isMediated,
  type NetDevice,
  type SerialPortDevice,
  type VfioDevice,
  type VhostUserDevice,
  type VsockDevice,
} from '../device.ts';
import { VmError } from '../../errors.ts';
import { blockParts } from './devices-block.ts';
import type { Backend, DeviceParts, Properties } from './devices-parts.ts';
import { type Controller, machineFamily, type Placed, placeProperties } from './devices-place.ts';

/** What of a VM a device's parts depend on. */
export type PartsContext = Pick<VmContext, 'id' | 'config' | 'accel' | 'runtimeFolder'> & {
  /** numbers of the files that QEMU has open for a device, by the device's id */
  descriptors?: ReadonlyMap<string, readonly number[]> | undefined;
};

/** Ports of the second virtio-serial bus: QEMU's most, less the one for consoles. */
const serialPorts = 31;

/** What QEMU is told to plug a device. Pure. */
export function partsOf({ device, place, sizeBytes }: Placed, context: PartsContext): DeviceParts {
  const at = placeProperties(place);
  // On microvm virtio devices sit on MMIO.
  const virtio = (name: string): string =>
    `${name}-${machineFamily(context.config.machineType) === 'microvm' ? 'device' : 'pci'}`;
  switch (device.kind) {
    case 'controller':
      return controllerParts(device, at, context.config, virtio);
    case 'block':
      return blockParts(device, sizeBytes, at, context.config, virtio);
    case 'net':
      return netParts(device, at, context, virtio);
    case 'fs':
      return fsParts(device, at, context, virtio);
    case 'serial-port':
      return serialParts(device, at, context);
    case 'vsock':
      return vsockParts(device, at, virtio);
    case 'vfio':
      return vfioParts(device, at);
    case 'vhost-user':
      return vhostUserParts(device, at, context, virtio);
    case 'hybrid-vsock':
      throw new VmError('UNSUPPORTED', 'QEMU has no hybrid vsock');
  }
}

type Virtio = (name: string) => string;

function controllerParts({ id }: Controller, at: Properties, config: HypervisorConfig, virtio: Virtio): DeviceParts {
  const common = { id, ...overIommu(config.iommuPlatform) };
  if (id === 'serial1')
    return { backends: [], device: { driver: virtio('virtio-serial'), ...common, max_ports: serialPorts, ...at } };
  const thread = `thread-${id}`;
  const iothread = config.enableIoThreads ? { iothread: thread } : {};
  return {
    backends: config.enableIoThreads ? [{ type: 'object', properties: { 'qom-type': 'iothread', id: thread } }] : [],
    device: { driver: virtio('virtio-scsi'), ...common, ...iothread, ...at },
  };
}

function netParts(device: NetDevice, at: Properties, context: PartsContext, virtio: Virtio): DeviceParts {
  const queues = device.queues ?? 1;
  const id = `net-${device.id}`;
  const { iommuPlatform } = context.config;
  const backend: Backend =
    device.tap === undefined
      ? { type: 'netdev', properties: { type: 'user', id } }
      : { type: 'netdev', properties: { type: 'tap', id, ...tapProperties(device, device.tap, context) } };
  return {
    backends: [backend],
    device: netFrontend(device, id, queues, iommuPlatform, at, context, virtio),
  };
}

function tapProperties(
  device: NetDevice,
  ifname: string,
  { descriptors }: PartsContext,
): { readonly [name: string]: string | number | boolean } {
  const vhost = device.vhost === true;
  const open = descriptors?.get(device.id);
  if (open !== undefined) return { ...(open.length > 1 ? { fds: open.join(':') } : { fd: `${open[0]}` }), vhost };
  const several = (device.queues ?? 1) > 1 ? { queues: device.queues ?? 1 } : {};
  return { ifname, script: 'no', downscript: 'no', vhost, ...several };
}

function netFrontend(
  device: NetDevice | VhostUserDevice,
  netdev: string,
  queues: number,
  iommuPlatform: boolean,
  at: Properties,
  context: PartsContext,
  virtio: Virtio,
): DeviceParts['device'] {
  // A vector for each direction of each queue, one for the control queue and one for the configuration.
  const several = queues > 1 ? { mq: true, vectors: 2 * queues + 2 } : {};
  return {
    driver: virtio('virtio-net'),
    id: device.id,
    netdev,
    mac: device.mac ?? madeUpMac(context.id, device.id),
    ...several,
    ...overIommu(iommuPlatform),
    // Nobody boots from it.
    ...(machineFamily(context.config.machineType) === 'microvm' ? {} : { romfile: '' }),
    ...at,
  };
}

/** The same for the same device of the same VM; locally administered, for one card (IEEE 802). */
function madeUpMac(vmId: string, deviceId: string): string {
  const digest = createHash('sha256').update(`${vmId}\0${deviceId}`).digest();
  const first = ((digest[0] ?? 0) & 0xfc) | 0x02;
  return [first, ...digest.subarray(1, 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function overIommu(iommuPlatform: boolean): Properties {
  return iommuPlatform ? { iommu_platform: true } : {};
}

function fsParts(device: FsDevice, at: Properties, context: PartsContext, virtio: Virtio): DeviceParts {
  const { id, tag } = device;
  if (fsDriver(device, context.config) === 'virtio-fs') {
    const path = vmmFiles.deviceSocket(context.runtimeFolder, id);
    return {
      backends: [{ type: 'chardev', id: `char-${id}`, path, server: false }],
      device: { driver: virtio('vhost-user-fs'), id, chardev: `char-${id}`, tag, 'queue-size': 1024, ...at },
    };
  }
  return {
    backends: [
      {
        type: 'fsdev',
        properties: {
          id: `fs-${id}`,
          path: device.path,
          // Who the guest's root is stays in the guest: never `none`, by which it would be this host's root.
          security_model: 'mapped-xattr',
          multidevs: 'remap',
          readonly: device.readOnly,
        },
      },
    ],
    device: { driver: virtio('virtio-9p'), id, fsdev: `fs-${id}`, mount_tag: tag, ...at },
  };
}

/** How a folder is shared. */
export function fsDriver(device: FsDevice, config: PartsContext['config']): 'virtio-fs' | 'virtio-9p' {
  return device.driver ?? config.sharedFs;
}

function serialParts({ id, name }: SerialPortDevice, at: Properties, context: PartsContext): DeviceParts {
  const path = vmmFiles.deviceSocket(context.runtimeFolder, id);
  return {
    backends: [{ type: 'chardev', id: `char-${id}`, path, server: true }],
    device: { driver: 'virtserialport', id, chardev: `char-${id}`, name, ...at },
  };
}

function vsockParts({ id, contextId }: VsockDevice, at: Properties, virtio: Virtio): DeviceParts {
  if (contextId === undefined) throw new VmError('INTERNAL', `the vsock ${id} was planned without a context id`);
  return { backends: [], device: { driver: virtio('vhost-vsock'), id, 'guest-cid': contextId, ...at } };
}

function vfioParts(device: VfioDevice, at: Properties): DeviceParts {
  const { id, address } = device;
  const which = isMediated(device) ? { sysfsdev: address } : { host: address };
  return { backends: [], device: { driver: 'vfio-pci', id, ...which, ...at } };
}

function vhostUserParts(device: VhostUserDevice, at: Properties, context: PartsContext, virtio: Virtio): DeviceParts {
  const { id, type, socket } = device;
  const queues = device.queues ?? 1;
  const chardev = `char-${id}`;
  const backends: Backend[] = [{ type: 'chardev', id: chardev, path: socket, server: false }];
  if (type === 'net') {
    const netdev = `net-${id}`;
    backends.push({ type: 'netdev', properties: { type: 'vhost-user', id: netdev, chardev, queues } });
    const { iommuPlatform } = context.config;
    const frontend = netFrontend(device, netdev, queues, iommuPlatform, at, context, virtio);
    // Without KVM, 7.2 crashes when the guest's driver starts: it takes the way of KVM's interrupts. One interrupt of the old kind it can.
    const emulated = context.accel === 'tcg' && machineFamily(context.config.machineType) !== 'microvm';
    return { backends, device: emulated ? { ...frontend, vectors: 0 } : frontend };
  }
  const driver = virtio(`vhost-user-${type}`);
  const own = {
    blk: { 'num-queues': queues },
    // QEMU itself would want a word of every change of the disks, which servers other than its own don't speak.
    scsi: { num_queues: queues, param_change: false },
    fs: { tag: device.tag },
  }[type];
  return { backends, device: { driver, id, chardev, ...own, ...at } };
}
