import { createHash } from 'node:crypto';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { BlockDevice, Device, FsDevice, NetDevice, RateLimit, VfioDevice, VhostUserDevice } from '../device.ts';
import { sysfsFolder } from '../device-host.ts';
import type { PlannedPath } from '../launch-plan.ts';
import type { DiskConfig, FsConfig, NetConfig, PmemConfig, RateLimiter, VfioConfig, VmConfig } from './wire.ts';

/** A device of the host, and the node of its IOMMU group: found when the device was added. */
export type HostDevice = VfioDevice & { node?: string | undefined };

/** A device that Cloud Hypervisor has as one of its own. */
export type OwnDevice = BlockDevice | NetDevice | FsDevice | HostDevice | VhostUserDevice;

/** What of a VM a device's configuration depends on. */
export interface DeviceScope {
  id: string;
  config: HypervisorConfig;
  runtimeFolder: string;
}

/** A device as Cloud Hypervisor is told it: a list of its configuration, and the request that adds to it later. */
export type DevicePart =
  | { list: 'disks'; request: 'vm.add-disk'; body: DiskConfig }
  | { list: 'pmem'; request: 'vm.add-pmem'; body: PmemConfig }
  | { list: 'net'; request: 'vm.add-net'; body: NetConfig }
  | { list: 'fs'; request: 'vm.add-fs'; body: FsConfig }
  | { list: 'devices'; request: 'vm.add-device'; body: VfioConfig };

/** A queue for requests, of the length that virtiofsd takes at most. */
const fsQueue = { num_queues: 1, queue_size: 1024 } as const;

/**
 * Refuses what Cloud Hypervisor does not have, instead of leaving it out.
 * @throws {VmError} UNSUPPORTED or INVALID_CONFIG naming the field
 */
export function requireOffered(device: Device, config: HypervisorConfig): asserts device is OwnDevice {
  switch (device.kind) {
    case 'block':
      if (config.disableBlockDeviceUse)
        throw new VmError('INVALID_CONFIG', 'disableBlockDeviceUse forbids block devices', {
          field: 'disableBlockDeviceUse',
        });
      return requireDisk(device, config);
    case 'net':
      return requireNet(device);
    case 'fs':
      refuseIf((device.driver ?? config.sharedFs) === 'virtio-9p', 'driver', 'it has no 9p');
      refuseIf(device.daxSizeMiB !== undefined, 'daxSizeMiB', 'it has no window for direct access');
      requireShared(config, 'virtioFsDaemon');
      return;
    case 'vhost-user':
      refuseIf(device.type === 'scsi', 'type', 'its vhost-user devices are blk, net and fs');
      requireShared(config, 'enableVhostUserStore');
      return;
    case 'vfio':
      return;
    default:
      throw new VmError('UNSUPPORTED', `Cloud Hypervisor has no ${device.kind} that can be added`, { field: 'kind' });
  }
}

function requireDisk(device: BlockDevice, config: HypervisorConfig): void {
  refuseIf(device.driver === 'virtio-scsi', 'driver', 'it has no SCSI');
  refuseIf(device.backing !== undefined, 'backing', 'it takes what the image names, in whatever format that is');
  refuseIf(device.cache?.noFlush === true, 'cache.noFlush', 'it always does what a guest asks to be flushed');
  refuseIf(device.aio !== undefined && device.aio !== 'io_uring', 'aio', 'it takes io_uring where the host has it');
  if (!isPmem(device, config)) return;
  refuseIf(device.format !== 'raw', 'format', 'an nvdimm is mapped into memory');
  refuseIf(device.rateLimit !== undefined, 'rateLimit', 'an nvdimm is memory, whose use is not counted');
  refuseIf(device.serial !== undefined, 'serial', 'an nvdimm has none');
  refuseIf(device.cache?.direct === true, 'cache.direct', "an nvdimm is the host's page cache");
}

function requireNet(device: NetDevice): void {
  const { receive, send } = device.rateLimit ?? {};
  refuseIf(device.tap === undefined, 'tap', 'it has no network of its own: make a tap device');
  refuseIf(device.tapType === 'macvtap', 'tapType', 'it opens tap devices only');
  refuseIf(device.vhost === true, 'vhost', 'it moves packets by itself, without vhost-net');
  refuseIf(JSON.stringify(receive) !== JSON.stringify(send), 'rateLimit', 'it has one limit for each direction');
}

/** Another process can map the guest's memory only if that was so from the start. */
function requireShared(config: HypervisorConfig, field: 'virtioFsDaemon' | 'enableVhostUserStore'): void {
  if (isShared(config) && (field !== 'virtioFsDaemon' || config.virtioFsDaemon !== undefined)) return;
  const what =
    field === 'virtioFsDaemon' ? 'a shared folder needs its daemon' : 'a vhost-user device needs shared memory';
  throw new VmError('INVALID_CONFIG', `${what}: ${field} is not set in the configuration of this VM`, { field });
}

/** Whether other processes serve devices out of the guest's memory. */
export function isShared(config: HypervisorConfig): boolean {
  return config.virtioFsDaemon !== undefined || config.enableVhostUserStore;
}

/** Whether the guest sees a disk as memory: virtio-pmem is Cloud Hypervisor's way of what others do with an NVDIMM. */
export function isPmem(device: OwnDevice, config: HypervisorConfig): device is BlockDevice {
  return device.kind === 'block' && (device.driver ?? config.blockDeviceDriver) === 'nvdimm';
}

/** What Cloud Hypervisor opens for a device: nothing for a shared folder, which is its daemon's affair. */
export function pathsOf(device: OwnDevice): PlannedPath[] {
  switch (device.kind) {
    case 'block':
      return [{ path: device.path, access: device.readOnly ? 'read' : 'write' }];
    case 'net':
      return [{ path: '/dev/net/tun', access: 'write' }];
    case 'vhost-user':
      return [{ path: device.socket, access: 'write' }];
    case 'fs':
      return [];
    case 'vfio':
      return [
        { path: '/dev/vfio/vfio', access: 'write' },
        ...(device.node === undefined ? [] : [{ path: device.node, access: 'write' } as const]),
        // It reads there which group that is.
        { path: sysfsFolder(device), access: 'read' },
      ];
  }
}

/** What Cloud Hypervisor is told of a device. Pure. */
export function partOf(device: OwnDevice, scope: DeviceScope): DevicePart {
  const { id } = device;
  switch (device.kind) {
    case 'block':
      return isPmem(device, scope.config)
        ? { list: 'pmem', request: 'vm.add-pmem', body: { id, file: device.path, discard_writes: device.readOnly } }
        : { list: 'disks', request: 'vm.add-disk', body: disk(device, scope.config) };
    case 'net':
      return { list: 'net', request: 'vm.add-net', body: net(device, scope.id) };
    case 'fs': {
      const socket = vmmFiles.deviceSocket(scope.runtimeFolder, id);
      return { list: 'fs', request: 'vm.add-fs', body: { id, tag: device.tag, socket, ...fsQueue } };
    }
    case 'vfio':
      return { list: 'devices', request: 'vm.add-device', body: { id, path: sysfsFolder(device) } };
    case 'vhost-user':
      return vhostUser(device, scope.id);
  }
}

/** The devices of a VM as lists of its configuration; a list without a device is left out. */
export function deviceLists(devices: readonly OwnDevice[], scope: DeviceScope): Pick<VmConfig, DevicePart['list']> {
  const lists: Partial<Record<DevicePart['list'], unknown[]>> = {};
  for (const device of devices) {
    const { list, body } = partOf(device, scope);
    (lists[list] ??= []).push(body);
  }
  return lists as Pick<VmConfig, DevicePart['list']>;
}

function disk(device: BlockDevice, config: HypervisorConfig): DiskConfig {
  const { blockDeviceCacheSet, blockDeviceCacheDirect } = config;
  const limiter = rateLimiter(device.rateLimit);
  return {
    id: device.id,
    path: device.path,
    readonly: device.readOnly,
    direct: device.cache?.direct ?? (blockDeviceCacheSet && blockDeviceCacheDirect),
    image_type: device.format === 'raw' ? 'Raw' : 'Qcow2',
    backing_files: false,
    ...(device.serial === undefined ? {} : { serial: device.serial }),
    ...(limiter && { rate_limiter_config: limiter }),
  };
}

function net(device: NetDevice, vmId: string): NetConfig {
  const limiter = rateLimiter(device.rateLimit?.receive);
  return {
    id: device.id,
    tap: device.tap ?? '',
    mac: device.mac ?? madeUpMac(vmId, device.id),
    num_queues: 2 * (device.queues ?? 1),
    ...(limiter && { rate_limiter_config: limiter }),
  };
}

function vhostUser(device: VhostUserDevice, vmId: string): DevicePart {
  const { id, socket, queues = 1 } = device;
  if (device.type === 'blk') {
    const body = { id, vhost_user: true, vhost_socket: socket, num_queues: queues };
    return { list: 'disks', request: 'vm.add-disk', body };
  }
  if (device.type === 'fs')
    return { list: 'fs', request: 'vm.add-fs', body: { id, tag: device.tag ?? '', socket, ...fsQueue } };
  const mac = device.mac ?? madeUpMac(vmId, id);
  const body = { id, mac, vhost_user: true, vhost_socket: socket, num_queues: 2 * queues };
  return { list: 'net', request: 'vm.add-net', body };
}

/** The same for the same device of the same VM; locally administered, for one card (IEEE 802). */
function madeUpMac(vmId: string, deviceId: string): string {
  const digest = createHash('sha256').update(`${vmId}/${deviceId}`).digest('hex');
  return ['02', ...Array.from({ length: 5 }, (_, at) => digest.slice(at * 2, at * 2 + 2))].join(':');
}

function rateLimiter(limit: RateLimit | undefined): RateLimiter | undefined {
  if (limit === undefined) return undefined;
  const bucket = (perSecond: number): { size: number; refill_time: number } => ({ size: perSecond, refill_time: 1000 });
  return {
    ...(limit.bytesPerSecond === undefined ? {} : { bandwidth: bucket(limit.bytesPerSecond) }),
    ...(limit.operationsPerSecond === undefined ? {} : { ops: bucket(limit.operationsPerSecond) }),
  };
}

function refuseIf(wrong: boolean, field: string, reason: string): void {
  if (!wrong) return;
  throw new VmError('UNSUPPORTED', `Cloud Hypervisor can't have this ${field}: ${reason}`, { field });
}
