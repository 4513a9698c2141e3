import { createHash } from 'node:crypto';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import type { BlockDevice } from '../device.ts';
import type { Backend, DeviceParts, Properties } from './devices-parts.ts';
import { blockDriver } from './devices-place.ts';

/** Names of nodes have 31 characters at most (`id` and `node-name` of QEMU's block layer). */
const nodeNameLength = 31;

/**
 * What the guest is told of an error of the host's: that there was one. By default QEMU would stop the VM when the host's disk is full, and wait for
 * somebody who lets it go on (`-drive werror=enospc`, qemu-system(1)).
 */
const toldToGuest = { werror: 'report', rerror: 'report' } as const;

/** What a disk is, in QEMU's words. Pure. */
export function blockParts(
  device: BlockDevice,
  sizeBytes: number | undefined,
  at: Properties,
  config: HypervisorConfig,
  virtio: (name: string) => string,
): DeviceParts {
  const driver = blockDriver(device, config);
  if (driver === 'nvdimm') return nvdimmParts(device, sizeBytes, at);
  const { id } = device;
  const drive = nodeName(id);
  const serial = device.serial === undefined ? {} : { serial: device.serial };
  // Disks on virtio-scsi share their controller's.
  const threaded = device.ioThread === true && driver === 'virtio-blk';
  const thread = `thread-${id}`;
  const backends: Backend[] = [
    ...(threaded ? [{ type: 'object', properties: { 'qom-type': 'iothread', id: thread } } as const] : []),
    ...limited(device, drive, imageNode(device, config)),
  ];
  if (driver === 'virtio-scsi')
    return { backends, device: { driver: 'scsi-hd', id, drive, ...toldToGuest, ...serial, ...at } };
  const own = { ...(threaded ? { iothread: thread } : {}), ...(config.iommuPlatform ? { iommu_platform: true } : {}) };
  return { backends, device: { driver: virtio('virtio-blk'), id, drive, ...toldToGuest, ...serial, ...own, ...at } };
}

/** An image, below a node that keeps to its limits where it has some. */
function limited({ id, rateLimit }: BlockDevice, drive: string, image: Properties): Backend[] {
  if (rateLimit === undefined) return [{ type: 'blockdev', properties: { 'node-name': drive, ...image } }];
  const group = `limit-${id}`;
  const { bytesPerSecond, operationsPerSecond } = rateLimit;
  const limits = { ...perSecond('bps-total', bytesPerSecond), ...perSecond('iops-total', operationsPerSecond) };
  return [
    { type: 'object', properties: { 'qom-type': 'throttle-group', id: group, limits } },
    { type: 'blockdev', properties: { 'node-name': drive, driver: 'throttle', 'throttle-group': group, file: image } },
  ];
}

/** A burst takes what a second allows, and no more (docs/throttle.txt of QEMU: by default it would be a tenth of that). */
function perSecond(name: string, most: number | undefined): Properties {
  return most === undefined ? {} : { [name]: most, [`${name}-max`]: most, [`${name}-max-length`]: 1 };
}

function nodeName(id: string): string {
  const plain = `drive-${id}`;
  if (plain.length <= nodeNameLength) return plain;
  return `drive-${createHash('sha256').update(id).digest('hex').slice(0, 24)}`;
}

/** The image and the file below it. A backing file is the one that the caller names, or none, whatever the image says. */
function imageNode(device: BlockDevice, config: HypervisorConfig): Properties {
  const { blockDeviceCacheSet, blockDeviceCacheDirect, blockDeviceCacheNoflush } = config;
  const direct = device.cache?.direct ?? (blockDeviceCacheSet && blockDeviceCacheDirect);
  const noFlush = device.cache?.noFlush ?? (blockDeviceCacheSet && blockDeviceCacheNoflush);
  const cache = { direct, 'no-flush': noFlush };
  const aio = device.aio ?? 'threads';
  if (aio === 'native' && !direct) {
    const advice = 'Set `cache: { direct: true }`, or leave `aio` out.';
    throw new VmError('INVALID_ARGUMENT', "aio native needs cache.direct: it can't wait for the page cache", {
      field: 'aio',
      advice,
    });
  }
  const file = (path: string, readOnly: boolean): Properties => ({
    driver: path.startsWith('/dev/') ? 'host_device' : 'file',
    filename: path,
    aio,
    cache,
    'read-only': readOnly,
    // What the guest discards is freed on the host.
    discard: 'unmap',
  });
  const { backing, format, path, readOnly } = device;
  const image = { driver: format, 'read-only': readOnly, cache, discard: 'unmap', file: file(path, readOnly) };
  if (format === 'raw') return image;
  if (backing === undefined) return { ...image, backing: null };
  const below = backing.format === 'qcow2' ? { backing: null } : {};
  return { ...image, backing: { driver: backing.format, 'read-only': true, file: file(backing.path, true), ...below } };
}

/** A file that the guest sees as memory. Its size is the file's, which is known when it is plugged. */
function nvdimmParts({ id, path, readOnly }: BlockDevice, sizeBytes: number | undefined, at: Properties): DeviceParts {
  const memory = `memory-${id}`;
  return {
    backends: [
      {
        type: 'object',
        properties: {
          'qom-type': 'memory-backend-file',
          id: memory,
          'mem-path': path,
          size: sizeBytes ?? 0,
          share: !readOnly,
          readonly: readOnly,
        },
      },
    ],
    device: { driver: 'nvdimm', id, memdev: memory, ...(readOnly ? { unarmed: true } : {}), ...at },
  };
}
