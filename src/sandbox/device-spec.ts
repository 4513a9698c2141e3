import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { VmError } from '../errors.ts';
import {
  type BlockDevice,
  type FsDevice,
  type HybridVsockDevice,
  type NamedDevice,
  type NetDevice,
  type SerialPortDevice,
  type VfioDevice,
  type VhostUserDevice,
  type VsockDevice,
} from '../hypervisors/device.ts';

/** The same with an id that is made up when it is absent. */
export type WithoutId<D extends { id: string }> = Omit<D, 'id'> & { id?: string | undefined };

/** A disk: its format is `raw` unless it is given (it is never probed), and it may be written unless `readOnly` is set. */
export type DiskSpec = Omit<WithoutId<BlockDevice>, 'format' | 'readOnly'> & {
  format?: BlockDevice['format'] | undefined;
  readOnly?: boolean | undefined;
};

/** A folder of this host. */
export type FolderSpec = Omit<WithoutId<FsDevice>, 'tag' | 'readOnly'> & {
  /** what the guest mounts; default: the id */
  tag?: string | undefined;
  /** default false */
  readOnly?: boolean | undefined;
  /** absolute path in the guest at which its agent mounts it; nothing is mounted when absent */
  mountAt?: string | undefined;
};

/** A device to attach, in the terms of {@link NamedDevice}: what may be left out has a default. */
export type DeviceSpec =
  | DiskSpec
  | FolderSpec
  | WithoutId<NetDevice>
  | WithoutId<SerialPortDevice>
  | WithoutId<VsockDevice>
  | WithoutId<HybridVsockDevice>
  | WithoutId<VfioDevice>
  | WithoutId<VhostUserDevice>;

/** A device that a VM has, and what its guest was asked to do with it. */
export interface AttachedDevice {
  device: NamedDevice;
  /** where the guest has mounted a folder */
  mountAt?: string | undefined;
  /** of a folder that the VMM doesn't share: the guest has an image of it, or its files */
  copied?: 'image' | 'files' | undefined;
}

const prefixes: Readonly<Record<NamedDevice['kind'], string>> = {
  block: 'disk',
  net: 'net',
  fs: 'folder',
  'serial-port': 'port',
  vsock: 'vsock',
  'hybrid-vsock': 'vsock',
  vfio: 'vfio',
  'vhost-user': 'vhost',
};

/**
 * The device with all that it leaves to us. Drivers check the rest.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function deviceOf(spec: DeviceSpec): AttachedDevice {
  if (typeof spec !== 'object' || spec === null || !Object.hasOwn(prefixes, spec.kind)) {
    throw new VmError('INVALID_ARGUMENT', `kind must be one of ${Object.keys(prefixes).join(', ')}`, { field: 'kind' });
  }
  const id = spec.id ?? `${prefixes[spec.kind]}-${randomBytes(3).toString('hex')}`;
  switch (spec.kind) {
    case 'block':
      return { device: { ...spec, id, format: spec.format ?? 'raw', readOnly: spec.readOnly ?? false } };
    case 'fs': {
      const { mountAt, ...rest } = spec;
      if (mountAt !== undefined) requireMountPoint(mountAt);
      const device = { ...rest, id, tag: rest.tag ?? id, readOnly: rest.readOnly ?? false };
      return mountAt === undefined ? { device } : { device, mountAt };
    }
    case 'net':
      // A macvtap has its own.
      return { device: { ...spec, id, mac: spec.mac ?? (spec.tapType === 'macvtap' ? undefined : madeUpMac()) } };
    default:
      return { device: { ...spec, id } };
  }
}

function requireMountPoint(value: unknown): void {
  if (typeof value === 'string' && /^\/[^\p{Cc}]+$/u.test(value) && path.posix.normalize(value) === value) return;
  throw new VmError('INVALID_ARGUMENT', `mountAt must be an absolute path below /, not ${JSON.stringify(value)}`, {
    field: 'mountAt',
  });
}

/** Of one card, and administered locally (IEEE 802). */
function madeUpMac(): string {
  return ['02', ...[...randomBytes(5)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
