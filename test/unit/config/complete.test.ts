import { describe, expect, test } from 'vitest';
import { completeConfig } from '../../../src/config/complete.ts';
import { configFieldNames, configFields } from '../../../src/config/config-fields.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import { bootable, complete, errorOf, host, usesAll } from './fixture.ts';

describe('defaults', () => {
  test('the general ones', () => {
    expect(complete({})).toMatchObject({
      vcpus: 1,
      maxVcpus: 4,
      memoryMiB: 2048,
      defaultBridges: 1,
      blockDeviceDriver: 'virtio-scsi',
      sharedFs: 'virtio-9p',
      msize9pBytes: 8192,
      memorySlots: 10,
      entropySource: '/dev/urandom',
      accel: 'auto',
      mlock: true,
      kernelParams: [],
    });
  });

  test('every field with a general default is filled, and every value would be accepted from a user', () => {
    const config = complete({});
    for (const name of configFieldNames.filter((field) => configFields[field].default !== undefined)) {
      expect(config[name], name).toEqual(configFields[name].default);
    }
    expect(parseConfig(config)).toEqual(config);
    expect(JSON.parse(JSON.stringify(config))).toEqual(config);
  });

  test("a VMM's own come before the general ones, the user's before both", () => {
    const fields = { ...usesAll, defaults: { useVsock: true, blockDeviceDriver: 'virtio-mmio', vcpus: 2 } as const };
    expect(complete({}, { fields })).toMatchObject({ useVsock: true, blockDeviceDriver: 'virtio-mmio', vcpus: 2 });
    expect(complete({ useVsock: false, vcpus: 1 }, { fields })).toMatchObject({ useVsock: false, vcpus: 1 });
  });

  test("the architecture is said only where it is not the host's, and has defaults of its own", () => {
    const fields = {
      ...usesAll,
      defaults: { machineType: 'q35' },
      archDefaults: { arm64: { machineType: 'virt', pcieRootPorts: 4 } },
    } as const;
    const arm = { arch: 'arm64', machineType: 'virt', pcieRootPorts: 4 };
    expect(complete({ arch: 'arm64' }, { fields })).toMatchObject(arm);
    expect(complete({ machineType: 'virt' }, { fields })).toMatchObject(arm);
    expect(complete({ arch: 'arm64', pcieRootPorts: 1 }, { fields }).pcieRootPorts).toBe(1);
    expect(complete({ arch: 'amd64' }, { fields })).toEqual(complete({}, { fields }));
    const onArm = { fields, host: { arch: 'arm64' } } as const;
    expect(complete({}, onArm)).toMatchObject({ machineType: 'virt' });
    expect(complete({}, onArm)).not.toHaveProperty('arch');
    expect(complete({ arch: 'amd64' }, onArm)).toMatchObject({ arch: 'amd64', machineType: 'q35' });
  });

  test('a kernel for another architecture makes a guest of it', () => {
    const facts = { fields: { ...usesAll, archDefaults: { arm64: { machineType: 'virt' } } }, host };
    const config = completeConfig(bootable, { ...facts, kernelArch: 'arm64' });
    expect(config).toMatchObject({ arch: 'arm64', machineType: 'virt' });
    expect(completeConfig(bootable, { ...facts, kernelArch: 'amd64' })).not.toHaveProperty('arch');
  });

  test('undefined is absent', () => {
    expect(complete({ vcpus: undefined }).vcpus).toBe(1);
  });

  test('maxVcpus is the least of host, architecture and VMM', () => {
    expect(complete({}, { host: { cpus: 500 } }).maxVcpus).toBe(240);
    expect(complete({}, { host: { cpus: 500, arch: 'arm64' } }).maxVcpus).toBe(123);
    expect(complete({ arch: 'arm64' }, { host: { cpus: 500 } }).maxVcpus).toBe(123);
    expect(complete({}, { host: { cpus: 500 }, fields: { ...usesAll, maxVcpus: 32 } }).maxVcpus).toBe(32);
    expect(complete({}, { fields: { ...usesAll, maxVcpus: 32 } }).maxVcpus).toBe(4);
    expect(complete({}, { fields: { ...usesAll, defaults: { maxVcpus: 2 } } }).maxVcpus).toBe(2);
    expect(complete({ maxVcpus: 8 }).maxVcpus).toBe(8);
  });

  test('with virtio-fs: no msize, a cache mode', () => {
    const config = complete({ sharedFs: 'virtio-fs', virtioFsDaemon: '/d' });
    expect(config.msize9pBytes).toBeUndefined();
    expect(config.virtioFsCache).toBe('auto');
    expect(complete({}).virtioFsCache).toBeUndefined();
  });

  test('the store of vhost-user has a place once it is enabled', () => {
    expect(complete({ enableVhostUserStore: true, hugePages: true }).vhostUserStorePath).toMatch(/^\//);
    expect(complete({}).vhostUserStorePath).toBeUndefined();
  });

  test('a custom kernel is enough', () => {
    const input = { initrd: '/i', customAssets: { kernel: { path: '/custom' } } };
    expect(completeConfig(input, { fields: usesAll, host }).kernel).toBe('/custom');
  });

  test('the input is left alone', () => {
    const input = Object.freeze({ ...bootable });
    complete(input);
    expect(input).toEqual(bootable);
  });
});

describe('fields without a use', () => {
  const fields = {
    ...usesAll,
    hypervisor: 'tiny',
    unused: { hugePages: 'its memory is always anonymous', initrd: 'no' },
  };

  test('are refused when set, whatever the value', () => {
    const input = { kernel: '/k', image: '/i', hugePages: false };
    const error = errorOf(() => completeConfig(input, { fields, host }));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.facts).toMatchObject({ field: 'hugePages', hypervisor: 'tiny' });
    expect(error.message).toContain('tiny has no use for hugePages: its memory is always anonymous');
  });

  test('are refused as custom assets too', () => {
    const input = { kernel: '/k', customAssets: { initrd: { path: '/i' } } };
    expect(errorOf(() => completeConfig(input, { fields, host })).facts.field).toBe('customAssets.initrd');
  });

  test('are no matter when absent', () => {
    expect(completeConfig({ kernel: '/k', image: '/i' }, { fields, host }).hugePages).toBe(false);
  });
});
