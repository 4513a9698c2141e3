import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../../src/config/vm-config.ts';
import { VmError } from '../../../../src/errors.ts';
import { capabilitiesFor } from '../../../../src/hypervisors/cloud-hypervisor/capabilities.ts';
import { requireOffered } from '../../../../src/hypervisors/cloud-hypervisor/devices.ts';
import { cloudHypervisor } from '../../../../src/hypervisors/cloud-hypervisor/index.ts';
import type { Device } from '../../../../src/hypervisors/device.ts';
import { contextFor } from '../fixture.ts';

const disk = { kind: 'block', id: 'd', path: '/d', format: 'raw', readOnly: false } as const;
const card = { kind: 'net', id: 'n', tap: 'tap0' } as const;
const folder = { kind: 'fs', id: 'f', path: '/f', tag: 't', readOnly: false } as const;
const daemon = { virtioFsDaemon: '/v', sharedFs: 'virtio-fs' } as const;

const verdict = (device: Device, input: VmConfigInput = {}): string => {
  try {
    requireOffered(device, contextFor(cloudHypervisor, input).config);
    return 'taken';
  } catch (error) {
    const { code, facts } = VmError.from(error);
    return `${code} ${facts.field}`;
  }
};

describe('devices of Cloud Hypervisor', () => {
  it.each<[Device, VmConfigInput?]>([
    [disk],
    [{ ...disk, driver: 'nvdimm' }],
    [{ ...disk, format: 'qcow2', cache: { direct: true }, serial: 'x' }],
    [card],
    [{ ...card, rateLimit: { receive: { bytesPerSecond: 1 }, send: { bytesPerSecond: 1 } } }],
    [folder, daemon],
    [{ kind: 'vfio', id: 'v', address: '0000:00:01.0' }],
    [
      { kind: 'vhost-user', id: 'u', type: 'net', socket: '/s' },
      { enableVhostUserStore: true, hugePages: true },
    ],
  ])('takes %j', (device, input) => {
    expect(verdict(device, input)).toBe('taken');
  });

  it.each<[Device, string, VmConfigInput?]>([
    [{ ...disk, driver: 'virtio-scsi' }, 'UNSUPPORTED driver'],
    [{ ...disk, format: 'qcow2', backing: { path: '/b', format: 'raw' } }, 'UNSUPPORTED backing'],
    [{ ...disk, cache: { noFlush: true } }, 'UNSUPPORTED cache.noFlush'],
    [{ ...disk, aio: 'native' }, 'UNSUPPORTED aio'],
    [{ ...disk, driver: 'nvdimm', rateLimit: {} }, 'UNSUPPORTED rateLimit'],
    [{ ...disk, driver: 'nvdimm', format: 'qcow2' }, 'UNSUPPORTED format'],
    [disk, 'INVALID_CONFIG disableBlockDeviceUse', { disableBlockDeviceUse: true }],
    [{ kind: 'net', id: 'n' }, 'UNSUPPORTED tap'],
    [{ ...card, tapType: 'macvtap' }, 'UNSUPPORTED tapType'],
    [{ ...card, vhost: true }, 'UNSUPPORTED vhost'],
    [{ ...card, rateLimit: { receive: { bytesPerSecond: 1 } } }, 'UNSUPPORTED rateLimit'],
    [folder, 'INVALID_CONFIG virtioFsDaemon'],
    [{ ...folder, driver: 'virtio-9p' }, 'UNSUPPORTED driver', daemon],
    [{ ...folder, daxSizeMiB: 64 }, 'UNSUPPORTED daxSizeMiB', daemon],
    [{ kind: 'vhost-user', id: 'u', type: 'blk', socket: '/s' }, 'INVALID_CONFIG enableVhostUserStore'],
    [{ kind: 'vhost-user', id: 'u', type: 'scsi', socket: '/s' }, 'UNSUPPORTED type'],
    [{ kind: 'serial-port', id: 's', name: 'p' }, 'UNSUPPORTED kind'],
    [{ kind: 'vsock', id: 's' }, 'UNSUPPORTED kind'],
  ])('refuses %j: %s', (device, expected, input) => {
    expect(verdict(device, input)).toBe(expected);
  });

  it('depend on the version, and dumps on how it was built', () => {
    expect(capabilitiesFor({}).devices.block.hotAdd).toBe(true);
    expect(capabilitiesFor({ version: '51.0' }).devices.block.hotAdd).toBe(true);
    expect(capabilitiesFor({ version: '50.2' }).devices.block.start).toMatch(/50\.2 can't be told .*51\.0 can/);
    expect(capabilitiesFor({ features: ['kvm'] }).operations.dumpMemory).toMatch(/guest_debug/);
    expect(capabilitiesFor({ features: ['kvm', 'guest_debug'] }).operations.dumpMemory).toBe(true);
  });
});
