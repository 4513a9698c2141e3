import { VmError } from '../errors.ts';
import { type Device, deviceId, deviceKinds, type RateLimit } from './device.ts';

/*
 * What every VMM's driver asks of a device before it looks at the host: all that can be told from the device itself and
 * from those that the VM has. Callers may be plain JavaScript, so nothing is taken for granted.
 */

/** Longer ones are refused by QEMU's object model and by the sockets that are named after them. */
const idPattern = /^[A-Za-z][A-Za-z0-9_-]{0,39}$/;
const macPattern = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
/** IFNAMSIZ less its NUL; no slash or blank (dev_valid_name of Linux). */
const interfacePattern = /^(?!\.{1,2}$)[^\s/:\p{Cc}]{1,15}$/u;
const pciPattern = /^[0-9a-f]{4}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]$/i;
const mediatedPattern = /^\/sys\/[^\p{Cc}]+$/u;
/** virtio-blk and virtio-scsi have room for 20 characters. */
const serialPattern = /^[\x21-\x7e]{1,20}$/;
const portNamePattern = /^[A-Za-z0-9._-]{1,64}$/;
/** The names of our own ports: the agent would take them for its channels. */
const ownPortPattern = /^agent\.channel\./;
const maxQueues = 16;
const maxContextId = 2 ** 32 - 2;

/** Lengths in bytes: `tag` of virtio_fs_config, and what QEMU allows in 9p. */
export const maxTagBytes = { 'virtio-fs': 36, 'virtio-9p': 31 } as const;

/**
 * Checks a device by itself.
 * @throws {VmError} INVALID_ARGUMENT naming the device's field
 */
export function checkDevice(device: Device): void {
  if (typeof device !== 'object' || device === null || !deviceKinds.includes(device.kind))
    throw wrong('kind', `one of ${deviceKinds.join(', ')}`, (device as Partial<Device> | null)?.kind);
  if ('id' in device || (device.kind !== 'cpu' && device.kind !== 'memory'))
    requireText('id', device.id, idPattern, 'a letter, then letters, digits, - and _, at most 40');
  switch (device.kind) {
    case 'block':
      requirePath('path', device.path);
      requireChoice('format', device.format, ['raw', 'qcow2']);
      requireFlag('readOnly', device.readOnly);
      requireChoice('driver', device.driver, [undefined, 'virtio-blk', 'virtio-scsi', 'nvdimm']);
      requireChoice('aio', device.aio, [undefined, 'threads', 'native', 'io_uring']);
      if (device.serial !== undefined)
        requireText('serial', device.serial, serialPattern, '1 to 20 printable characters');
      if (device.rateLimit !== undefined) requireRateLimit('rateLimit', device.rateLimit);
      if (device.backing !== undefined) {
        requirePath('backing.path', device.backing.path);
        requireChoice('backing.format', device.backing.format, ['raw', 'qcow2']);
        if (device.format === 'raw')
          throw wrong('backing', 'absent for a raw image, which builds on none', device.backing);
      }
      if (device.driver === 'nvdimm' && device.format !== 'raw')
        throw wrong('format', 'raw for an nvdimm, which is mapped into memory', device.format);
      break;
    case 'net':
      if (device.tap !== undefined) requireText('tap', device.tap, interfacePattern, 'the name of a network device');
      requireChoice('tapType', device.tapType, [undefined, 'tap', 'macvtap']);
      requireNetwork(device.mac, device.queues);
      for (const way of ['receive', 'send'] as const) {
        const limit = device.rateLimit?.[way];
        if (limit !== undefined) requireRateLimit(`rateLimit.${way}`, limit);
      }
      if (device.tap === undefined && (device.queues ?? 1) > 1)
        throw wrong('queues', '1 in user mode, which has one queue', device.queues);
      if (device.tap === undefined && device.vhost === true) throw wrong('vhost', 'absent in user mode', true);
      break;
    case 'fs':
      requirePath('path', device.path);
      requireFlag('readOnly', device.readOnly);
      requireChoice('driver', device.driver, [undefined, 'virtio-fs', 'virtio-9p']);
      requireTag(device.tag, maxTagBytes[device.driver ?? 'virtio-fs']);
      break;
    case 'serial-port':
      requireText('name', device.name, portNamePattern, '1 to 64 letters, digits, dots, - and _');
      if (ownPortPattern.test(device.name)) throw wrong('name', 'other than those of the agent', device.name);
      break;
    case 'vsock':
      if (device.contextId !== undefined) requireInteger('contextId', device.contextId, 3, maxContextId);
      break;
    case 'vfio':
      if (
        typeof device.address !== 'string' ||
        !(pciPattern.test(device.address) || mediatedPattern.test(device.address))
      )
        throw wrong('address', 'a PCI address such as 0000:03:00.0, or a path in /sys', device.address);
      break;
    case 'vhost-user':
      requireChoice('type', device.type, ['blk', 'scsi', 'net', 'fs']);
      requirePath('socket', device.socket);
      requireNetwork(device.mac, device.queues);
      if (device.type === 'fs') requireTag(device.tag, maxTagBytes['virtio-fs']);
      break;
    case 'cpu':
      requireInteger('count', device.count, 1, 1024);
      break;
    case 'memory':
      requireInteger('sizeMiB', device.sizeMiB, 1, 2 ** 32);
      break;
    case 'hybrid-vsock':
      break;
  }
}

/**
 * Checks a device against those that the VM has.
 * @throws {VmError} INVALID_ARGUMENT for a second use of an id, of a disk that one of the two may write, or of a name in the guest
 */
export function checkAmong(others: readonly Device[], device: Device): void {
  const id = deviceId(device);
  for (const other of others) {
    const taken = conflict(other, device);
    if (deviceId(other) === id && device.kind !== 'cpu')
      throw new VmError('INVALID_ARGUMENT', `device ${id} is already plugged`, { field: 'id' });
    if (taken !== undefined)
      throw new VmError('INVALID_ARGUMENT', `${taken}, which device ${deviceId(other)} has already`, {
        advice: 'Unplug that one first, or choose another.',
      });
  }
}

/** What of the host or the guest both would have. */
function conflict(other: Device, device: Device): string | undefined {
  if (other.kind === 'block' && device.kind === 'block' && other.path === device.path) {
    return other.readOnly && device.readOnly ? undefined : `${device.path} would be written through two disks`;
  }
  if (other.kind === 'net' && device.kind === 'net' && device.tap !== undefined && other.tap === device.tap)
    return `${device.id} would use the network device ${device.tap}`;
  if ('tag' in other && 'tag' in device && device.tag !== undefined && other.tag === device.tag)
    return `${deviceId(device)} would have the tag ${device.tag}`;
  if (other.kind === 'serial-port' && device.kind === 'serial-port' && other.name === device.name)
    return `${device.id} would have the port name ${device.name}`;
  if (other.kind === 'vsock' && device.kind === 'vsock') return 'a VM has one vsock';
  if (other.kind === 'vfio' && device.kind === 'vfio' && other.address === device.address)
    return `${device.id} would be the host's device ${device.address}`;
  if (other.kind === 'vhost-user' && device.kind === 'vhost-user' && other.socket === device.socket)
    return `${device.id} would use the socket ${device.socket}`;
  return undefined;
}

function requireNetwork(mac: unknown, queues: unknown): void {
  if (mac !== undefined) {
    requireText('mac', mac, macPattern, 'six bytes in hexadecimal, such as 02:00:00:00:00:01');
    // The lowest bit of the first byte marks a group of receivers (IEEE 802).
    if (Number.parseInt((mac as string).slice(0, 2), 16) % 2 === 1) throw wrong('mac', "a single card's address", mac);
  }
  if (queues !== undefined) requireInteger('queues', queues, 1, maxQueues);
}

function requireRateLimit(field: string, limit: RateLimit): void {
  const { bytesPerSecond, operationsPerSecond } = limit;
  if (bytesPerSecond === undefined && operationsPerSecond === undefined)
    throw wrong(field, 'a number of bytes or of operations a second, or both', limit);
  for (const [name, value] of Object.entries({ bytesPerSecond, operationsPerSecond }))
    if (value !== undefined) requireInteger(`${field}.${name}`, value, 1, 2 ** 40);
}

function requireTag(tag: unknown, maxBytes: number): void {
  if (typeof tag === 'string' && /^[^\p{Cc}]+$/u.test(tag) && Buffer.byteLength(tag) <= maxBytes) return;
  throw wrong('tag', `1 to ${maxBytes} bytes without control characters`, tag);
}

function requirePath(field: string, value: unknown): void {
  if (typeof value === 'string' && /^\/[^\p{Cc}]*$/u.test(value)) return;
  throw wrong(field, 'an absolute path without control characters', value);
}

function requireText(field: string, value: unknown, pattern: RegExp, wanted: string): void {
  if (typeof value !== 'string' || !pattern.test(value)) throw wrong(field, wanted, value);
}

function requireChoice(
  field: string,
  value: unknown,
  choices: readonly (string | number | boolean | undefined)[],
): void {
  if (!choices.some((choice) => choice === value))
    throw wrong(field, choices.filter((choice) => choice !== undefined).join(' or '), value);
}

function requireFlag(field: string, value: unknown): void {
  if (typeof value !== 'boolean') throw wrong(field, 'true or false', value);
}

function requireInteger(field: string, value: unknown, least: number, most: number): void {
  if (!(Number.isInteger(value) && (value as number) >= least && (value as number) <= most))
    throw wrong(field, `a whole number from ${least} to ${most}`, value);
}

function wrong(field: string, wanted: string, given: unknown): VmError {
  return new VmError('INVALID_ARGUMENT', `the device's ${field} must be ${wanted}, not ${JSON.stringify(given)}`, {
    field,
  });
}
