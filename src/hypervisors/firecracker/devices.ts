import { createHash } from 'node:crypto';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import type { BlockDevice, Device, NetDevice, RateLimit, VhostUserDevice } from '../device.ts';
import type { PlannedPath, PlannedRequest } from '../launch-plan.ts';
import type { Drive, NetworkInterface, Pmem, RateLimiter, TokenBucket } from './wire.ts';

/** A device that Firecracker has as one of its own. */
export type OwnDevice = BlockDevice | NetDevice | VhostUserDevice;

/** A device of a VM, and what Firecracker calls it. */
export interface Placed {
  device: OwnDevice;
  /** in Firecracker's API */
  name: string;
  /** the drive of the pool that shows this disk */
  pool?: number | undefined;
  /** its number on the guest's PCI bus */
  slot?: number | undefined;
  /** of a disk that is a file, when it was added */
  sizeBytes?: number | undefined;
}

/** How many disks can be put into drives that were there from the start. */
export const poolSize = 8;

/** Name of a drive of the pool, and of the empty file that it shows while it is free. */
export function poolName(index: number): string {
  return `pool${index}`;
}

/** Firecracker's ids are letters, digits and underscores. */
export function nameOf(id: string): string {
  return id.replaceAll('-', '_');
}

/** Name of a disk in the VMM's folder, where every disk is, so that a snapshot finds it in any folder. */
export function diskName(name: string): string {
  return `disk-${name}`;
}

/**
 * Refuses what Firecracker does not have, instead of leaving it out.
 * @throws {VmError} UNSUPPORTED naming the field
 */
export function requireOffered(device: Device, config: HypervisorConfig): asserts device is OwnDevice {
  switch (device.kind) {
    case 'block':
      if (config.disableBlockDeviceUse)
        throw new VmError('INVALID_CONFIG', 'disableBlockDeviceUse forbids block devices', {
          field: 'disableBlockDeviceUse',
        });
      refuseIf(device.format !== 'raw' || device.backing !== undefined, 'format', 'it reads raw images only');
      refuseIf(driverOf(device, config) === 'virtio-scsi', 'driver', 'it has no SCSI');
      refuseIf(device.cache?.direct === true, 'cache.direct', 'its disks go through the page cache of the host');
      refuseIf(device.aio === 'native', 'aio', 'its engines are threads (Sync) and io_uring (Async)');
      refuseIf(device.ioThread === true, 'ioThread', 'one thread serves all its devices');
      refuseIf(device.serial !== undefined, 'serial', 'it makes the serial number from the file');
      refuseIf(
        isPmem(device, config) && device.rateLimit !== undefined,
        'rateLimit',
        'the memory of an nvdimm is not limited by this driver',
      );
      return;
    case 'net':
      refuseIf(device.tap === undefined, 'tap', 'it has no network of its own: make a tap device');
      refuseIf(device.tapType === 'macvtap', 'tapType', 'it opens tap devices only');
      refuseIf((device.queues ?? 1) > 1, 'queues', 'its cards have one pair of queues');
      refuseIf(device.vhost === true, 'vhost', 'it moves packets by itself, without vhost-net');
      return;
    case 'vhost-user':
      refuseIf(device.type !== 'blk', 'type', 'its only vhost-user devices are disks (blk)');
      refuseIf((device.queues ?? 1) > 1, 'queues', 'its disks have one queue');
      return;
    default:
      throw new VmError('UNSUPPORTED', `Firecracker has no ${device.kind} that can be added`, { field: 'kind' });
  }
}

/** Whether the guest sees a disk as memory: virtio-pmem is Firecracker's way of what others do with an NVDIMM. */
export function isPmem(device: OwnDevice, config: HypervisorConfig): boolean {
  return device.kind === 'block' && driverOf(device, config) === 'nvdimm';
}

/** What Firecracker opens for a device, behind the link in its folder. */
export function pathsOf(device: OwnDevice): PlannedPath[] {
  switch (device.kind) {
    case 'block':
      return [{ path: device.path, access: device.readOnly ? 'read' : 'write' }];
    case 'vhost-user':
      return [{ path: device.socket, access: 'write' }];
    case 'net':
      return [{ path: '/dev/net/tun', access: 'write' }];
  }
}

function driverOf(device: BlockDevice, config: HypervisorConfig): string {
  return device.driver ?? config.blockDeviceDriver;
}

/** The request that makes a device: before the boot, and on a running guest where the version can. */
export function addRequest(placed: Placed, vm: { id: string; config: HypervisorConfig }): PlannedRequest {
  const { device, name } = placed;
  const put = (target: string, body: unknown): PlannedRequest => ({ method: 'PUT', target, body });
  if (device.kind === 'net') return put(`/network-interfaces/${name}`, networkInterface(device, name, vm.id));
  if (device.kind === 'vhost-user' || !isPmem(device, vm.config))
    return put(`/drives/${name}`, drive(device, name, vm.config));
  const body: Pmem = { id: name, path_on_host: diskName(name), root_device: false, read_only: device.readOnly };
  return put(`/pmem/${name}`, body);
}

/** The request that takes a device away from a running guest. */
export function removeRequest({ device, name }: Placed, config: HypervisorConfig): PlannedRequest {
  const group = device.kind === 'net' ? 'network-interfaces' : isPmem(device, config) ? 'pmem' : 'drives';
  return { method: 'DELETE', target: `/${group}/${name}` };
}

/** The drives of the pool, each with an empty file in it. */
export function poolRequests(): PlannedRequest[] {
  return Array.from({ length: poolSize }, (_, index) => {
    const body: Drive = {
      drive_id: poolName(index),
      is_root_device: false,
      cache_type: 'Writeback',
      is_read_only: false,
      path_on_host: poolName(index),
    };
    return { method: 'PUT', target: `/drives/${poolName(index)}`, body };
  });
}

/** The request that shows another file in a drive of the pool. */
export function swapRequest(index: number, file: string, rateLimit?: RateLimit): PlannedRequest {
  const limiter = rateLimiter(rateLimit);
  const body = { drive_id: poolName(index), path_on_host: file, ...(limiter && { rate_limiter: limiter }) };
  return { method: 'PATCH', target: `/drives/${poolName(index)}`, body };
}

function drive(device: BlockDevice | VhostUserDevice, name: string, config: HypervisorConfig): Drive {
  const { blockDeviceCacheSet, blockDeviceCacheNoflush } = config;
  const noFlush = device.kind === 'block' ? device.cache?.noFlush : undefined;
  const unsafe = noFlush ?? (blockDeviceCacheSet && blockDeviceCacheNoflush);
  const common = { drive_id: name, is_root_device: false, cache_type: unsafe ? 'Unsafe' : 'Writeback' } as const;
  if (device.kind === 'vhost-user') return { ...common, socket: diskName(name) };
  const limiter = rateLimiter(device.rateLimit);
  return {
    ...common,
    is_read_only: device.readOnly,
    path_on_host: diskName(name),
    io_engine: device.aio === 'io_uring' ? 'Async' : 'Sync',
    ...(limiter && { rate_limiter: limiter }),
  };
}

function networkInterface(device: NetDevice, name: string, vmId: string): NetworkInterface {
  const receive = rateLimiter(device.rateLimit?.receive);
  const send = rateLimiter(device.rateLimit?.send);
  return {
    iface_id: name,
    host_dev_name: device.tap ?? '',
    guest_mac: device.mac ?? madeUpMac(vmId, device.id),
    ...(receive && { rx_rate_limiter: receive }),
    ...(send && { tx_rate_limiter: send }),
  };
}

/** An address of our own making (the second bit of IEEE 802), the same for this device each time. */
function madeUpMac(vmId: string, deviceId: string): string {
  const hash = createHash('sha256').update(`${vmId}/${deviceId}`).digest('hex');
  return ['02', ...Array.from({ length: 5 }, (_, at) => hash.slice(at * 2, at * 2 + 2))].join(':');
}

function rateLimiter(limit: RateLimit | undefined): RateLimiter | undefined {
  if (limit === undefined) return undefined;
  const bucket = (perSecond: number): TokenBucket => ({ size: perSecond, refill_time: 1000 });
  return {
    ...(limit.bytesPerSecond === undefined ? {} : { bandwidth: bucket(limit.bytesPerSecond) }),
    ...(limit.operationsPerSecond === undefined ? {} : { ops: bucket(limit.operationsPerSecond) }),
  };
}

function refuseIf(wrong: boolean, field: string, reason: string): void {
  if (!wrong) return;
  throw new VmError('UNSUPPORTED', `Firecracker can't have this ${field}: ${reason}`, { field });
}
