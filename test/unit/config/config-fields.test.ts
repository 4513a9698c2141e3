import { readdir, readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { configFieldNames, configFields } from '../../../src/config/config-fields.ts';

// The fields of HypervisorConfig in the last virtcontainers, as reviewed by hand.
const kataNames = `BlockDeviceCacheDirect BlockDeviceCacheNoflush BlockDeviceCacheSet BlockDeviceDriver BootFromTemplate
  BootToBeTemplate CPUFeatures Debug DefaultBridges DefaultMaxVCPUs DevicesStatePath DisableBlockDeviceUse
  DisableImageNvdimm DisableNestingChecks DisableVhostNet EnableAnnotations EnableIOThreads EnableVhostUserStore
  EntropySource FileBackedMemRootDir FileBackedMemRootList FirmwarePath GuestHookPath HotplugVFIOOnRootBus HugePages
  HypervisorCtlPath HypervisorCtlPathList HypervisorMachineType HypervisorParams HypervisorPath HypervisorPathList IOMMU
  IOMMUPlatform ImagePath InitrdPath JailerPath JailerPathList KernelParams KernelPath MachineAccelerators MemOffset
  MemPrealloc MemSlots MemoryPath MemorySize Mlock Msize9p NumVCPUs PCIeRootPort PFlash Realtime SELinuxProcessLabel
  SharedFS UseVSock VMid VhostUserStorePath VhostUserStorePathList VirtioFSCache VirtioFSCacheSize VirtioFSDaemon
  VirtioFSDaemonList VirtioFSExtraArgs VirtioMem customAssets`.split(/\s+/);

test("every field of virtcontainers' HypervisorConfig is here once", () => {
  const ours = configFieldNames.flatMap((name) => configFields[name].kataName ?? []);
  expect(ours.toSorted()).toEqual(kataNames.toSorted());
});

test("only these are not virtcontainers': its successors', and three of ours", () => {
  expect(configFieldNames.filter((name) => configFields[name].kataName === undefined).toSorted()).toEqual([
    'accel',
    'arch',
    'cpuModel',
    'entropySourceList',
    'guestMemoryDumpPaging',
    'guestMemoryDumpPath',
    'numaMapping',
    'reclaimGuestFreedMemory',
  ]);
});

test('names and keys are unique, meanings are sentences', () => {
  const keys = configFieldNames.flatMap((name) => configFields[name].tomlKey ?? []);
  expect(new Set(keys).size).toBe(keys.length);
  for (const name of configFieldNames) {
    const { meaning, unit, type } = configFields[name];
    expect(meaning, name).toMatch(/^[\p{Lu}v].*\.$/u);
    expect(type.kind === 'integer', name).toBe(unit !== undefined);
  }
});

test('only schema.ts loads zod, so that a command that needs no config starts without it', async () => {
  const root = new URL('../../../src/config/', import.meta.url);
  const files = (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(20);
  const texts = await Promise.all(files.map(async (name) => [name, await readFile(new URL(name, root), 'utf8')]));
  const loading = texts.filter(([, text]) => /^import (?!type )[^;]*from 'zod/m.test(text ?? '')).map(([name]) => name);
  expect(loading).toEqual(['schema.ts']);
  const importing = texts.filter(([, text]) => /from '(\.\.?\/)+schema\.ts'/.test(text ?? '')).map(([name]) => name);
  expect(importing).toEqual(['parse.ts']);
});
