import { describe, expect, test } from 'vitest';
import { completeConfig } from '../../../src/config/complete.ts';
import type { HostFacts } from '../../../src/config/host.ts';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import { complete, errorOf, host, usesAll } from './fixture.ts';

interface Case {
  readonly what: string;
  readonly input: VmConfigInput;
  readonly host?: Partial<HostFacts>;
  readonly field: string;
  readonly text: string;
}

const template = { memoryPath: '/m', devicesStatePath: '/d' };

const broken: Case[] = [
  {
    what: 'image and initrd',
    input: { image: '/i' },
    field: 'initrd',
    text: 'image and initrd are both set',
  },
  {
    what: 'custom image and initrd',
    input: { customAssets: { image: { path: '/i' } } },
    field: 'initrd',
    text: 'both set',
  },
  { what: 'vcpus above maxVcpus', input: { vcpus: 3, maxVcpus: 2 }, field: 'vcpus', text: 'maxVcpus is 2' },
  { what: 'vcpus above the host', input: { vcpus: 5 }, field: 'vcpus', text: "host's 4 CPUs" },
  { what: 'vcpus above the architecture', input: { vcpus: 241 }, field: 'vcpus', text: 'vcpus is 241' },
  { what: 'maxVcpus above amd64', input: { maxVcpus: 241 }, field: 'maxVcpus', text: 'at most 240' },
  {
    what: 'maxVcpus above arm64',
    input: { maxVcpus: 124 },
    host: { arch: 'arm64' },
    field: 'maxVcpus',
    text: 'on arm64 takes at most 123',
  },
  { what: 'memory above the host', input: { memoryMiB: 8193 }, field: 'memoryMiB', text: 'the host has 8192 MiB' },
  {
    what: 'to be and from a template',
    input: { ...template, bootToBeTemplate: true, bootFromTemplate: true },
    field: 'bootFromTemplate',
    text: 'one or the other',
  },
  {
    what: 'template without memory',
    input: { bootToBeTemplate: true, devicesStatePath: '/d' },
    field: 'memoryPath',
    text: 'missing',
  },
  {
    what: 'from a template without memory',
    input: { bootFromTemplate: true, devicesStatePath: '/d' },
    field: 'memoryPath',
    text: 'missing',
  },
  {
    what: 'template without device state',
    input: { bootToBeTemplate: true, memoryPath: '/m' },
    field: 'devicesStatePath',
    text: 'missing',
  },
  {
    what: 'from a template without device state',
    input: { bootFromTemplate: true, memoryPath: '/m' },
    field: 'devicesStatePath',
    text: 'missing',
  },
  {
    what: 'template with file-backed memory',
    input: { ...template, bootToBeTemplate: true, fileBackedMemRootDir: '/dev/shm' },
    field: 'fileBackedMemRootDir',
    text: 'templates',
  },
  {
    what: 'template with virtio-fs',
    input: { ...template, bootFromTemplate: true, sharedFs: 'virtio-fs', virtioFsDaemon: '/d' },
    field: 'sharedFs',
    text: 'templates',
  },
  { what: 'virtio-fs without daemon', input: { sharedFs: 'virtio-fs' }, field: 'virtioFsDaemon', text: 'missing' },
  { what: 'vhost-user without huge pages', input: { enableVhostUserStore: true }, field: 'hugePages', text: 'needs' },
  { what: 'iommu on pc', input: { iommu: true, machineType: 'pc' }, field: 'iommu', text: 'q35, not pc' },
  { what: 'iommu on the default', input: { iommu: true }, field: 'iommu', text: 'not the default' },
  { what: 'root ports on pc', input: { pcieRootPorts: 1, machineType: 'pc' }, field: 'pcieRootPorts', text: 'q35' },
  {
    what: 'msize with virtio-fs',
    input: { sharedFs: 'virtio-fs', virtioFsDaemon: '/d', msize9pBytes: 8192 },
    field: 'msize9pBytes',
    text: 'does nothing without sharedFs virtio-9p',
  },
  {
    what: 'DAX without virtio-fs',
    input: { virtioFsCacheSizeMiB: 64 },
    field: 'virtioFsCacheSizeMiB',
    text: 'nothing',
  },
  { what: 'daemon without virtio-fs', input: { virtioFsDaemon: '/d' }, field: 'virtioFsDaemon', text: 'nothing' },
  { what: 'cache without virtio-fs', input: { virtioFsCache: 'none' }, field: 'virtioFsCache', text: 'nothing' },
  { what: 'daemon arguments', input: { virtioFsExtraArgs: ['-d'] }, field: 'virtioFsExtraArgs', text: 'nothing' },
  { what: 'direct', input: { blockDeviceCacheDirect: true }, field: 'blockDeviceCacheDirect', text: 'CacheSet' },
  { what: 'noflush', input: { blockDeviceCacheNoflush: true }, field: 'blockDeviceCacheNoflush', text: 'CacheSet' },
  {
    what: 'I/O threads without SCSI',
    input: { enableIoThreads: true, blockDeviceDriver: 'virtio-blk' },
    field: 'enableIoThreads',
    text: 'virtio-scsi',
  },
  { what: 'mlock without realtime', input: { mlock: false }, field: 'mlock', text: 'realtime' },
  { what: 'a store not enabled', input: { vhostUserStorePath: '/s' }, field: 'vhostUserStorePath', text: 'enable' },
  { what: 'memory file, no template', input: { memoryPath: '/m' }, field: 'memoryPath', text: 'nothing' },
  { what: 'device state, no template', input: { devicesStatePath: '/d' }, field: 'devicesStatePath', text: 'nothing' },
  { what: 'three flash images', input: { pflash: ['/a', '/b', '/c'] }, field: 'pflash', text: 'two' },
  {
    what: 'one flash image on arm64',
    input: { pflash: ['/a'] },
    host: { arch: 'arm64' },
    field: 'pflash',
    text: 'both',
  },
  {
    what: 'a machine of another architecture',
    input: { arch: 'arm64', machineType: 'q35' },
    field: 'machineType',
    text: 'of amd64',
  },
  {
    what: "the host's, with a foreign machine",
    input: { arch: 'amd64', machineType: 'virt' },
    field: 'machineType',
    text: 'of arm64',
  },
  {
    what: 'root ports on pc',
    input: { machineType: 'pc', pcieRootPorts: 2 },
    field: 'pcieRootPorts',
    text: 'q35 or virt',
  },
  { what: 'one flash image for arm64', input: { arch: 'arm64', pflash: ['/a'] }, field: 'pflash', text: 'both' },
  { what: 'a pattern', input: { enableAnnotations: ['ok', '('] }, field: 'enableAnnotations[1]', text: 'regular' },
];

test.each(broken)('$what is refused', ({ input, host: facts, field, text }) => {
  const error = errorOf(() => complete(input, { host: facts ?? {} }));
  expect(error.code).toBe('INVALID_CONFIG');
  expect(error.facts.field).toBe(field);
  expect(error.message).toContain(text);
});

describe('the architecture of a kernel', () => {
  test.each([
    [
      'of the host, for another guest',
      { arch: 'arm64' },
      'amd64',
      'kernel',
      'is for amd64, but the guest is to be of arm64',
    ],
    ['of another, for a machine of the host', { machineType: 'q35' }, 'arm64', 'kernel', 'is for arm64'],
    [
      'that is a custom asset',
      { arch: 'arm64', customAssets: { kernel: { path: '/k' } } },
      'amd64',
      'customAssets.kernel',
      '/k',
    ],
  ] as const)('%s', (_, input, kernelArch, field, text) => {
    const error = errorOf(() =>
      completeConfig({ kernel: '/k', initrd: '/i', ...input }, { fields: usesAll, host, kernelArch }),
    );
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', facts: { field } });
    expect(error.message).toContain(text);
  });

  test('for a VMM that emulates none', () => {
    const { arch: _, ...uses } = usesAll.uses;
    const fields = { ...usesAll, uses, unused: { arch: 'it has KVM only' } };
    const error = errorOf(() => completeConfig({ kernel: '/k', initrd: '/i' }, { fields, host, kernelArch: 'arm64' }));
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', facts: { field: 'kernel' } });
    expect(error.message).toContain("guests of this host's architecture (amd64) only");
  });
});

describe('what must be there', () => {
  test('a kernel', () => {
    const error = errorOf(() => completeConfig({ initrd: '/i' }, { fields: usesAll, host }));
    expect(error.facts.field).toBe('kernel');
    expect(error.message).toMatch(/kernel is missing/);
  });

  test('an image or an initrd', () => {
    const error = errorOf(() => completeConfig({ kernel: '/k' }, { fields: usesAll, host }));
    expect(error.facts.field).toBe('initrd');
    expect(error.message).toMatch(/image and initrd are both missing/);
  });
});

const fine: [string, VmConfigInput][] = [
  ['the smallest memory', { memoryMiB: 64 }],
  ['all of the memory', { memoryMiB: 8192 }],
  ['as many vCPUs as CPUs', { vcpus: 4 }],
  ['more vCPUs than CPUs when asked for', { vcpus: 8, maxVcpus: 8 }],
  ['a template', { ...template, bootToBeTemplate: true }],
  ['from a template', { ...template, bootFromTemplate: true }],
  ['virtio-fs', { sharedFs: 'virtio-fs', virtioFsDaemon: '/d', virtioFsCacheSizeMiB: 64, virtioFsExtraArgs: ['-d'] }],
  ['vhost-user', { enableVhostUserStore: true, hugePages: true, vhostUserStorePath: '/s' }],
  ['iommu on q35', { iommu: true, machineType: 'q35', pcieRootPorts: 2 }],
  ['root ports on virt', { arch: 'arm64', machineType: 'virt', pcieRootPorts: 2 }],
  ['iommu on a versioned q35', { iommu: true, machineType: 'pc-q35-7.2' }],
  ['cache options', { blockDeviceCacheSet: true, blockDeviceCacheDirect: true, blockDeviceCacheNoflush: true }],
  ['swap with realtime', { realtime: true, mlock: false }],
  ['what is off asks for nothing', { enableIoThreads: false, blockDeviceDriver: 'virtio-blk', virtioFsExtraArgs: [] }],
  ['two flash images', { pflash: ['/a', '/b'] }],
  ['patterns', { enableAnnotations: ['^default_.*', 'path'] }],
];

test.each(fine)('%s is fine', (_, input) => {
  expect(complete(input)).toMatchObject(input);
});

test('a VMM whose default is virtio-fs needs no daemon until a folder is shared', () => {
  const fields = { ...usesAll, defaults: { sharedFs: 'virtio-fs' } as const };
  expect(complete({}, { fields }).sharedFs).toBe('virtio-fs');
});
