import type { ConfigField, HypervisorConfig, VmConfigInput } from '../vm-config.ts';
import { broken, type Rule } from './rule.ts';

interface Dependence {
  readonly field: ConfigField;
  readonly on: (config: HypervisorConfig) => boolean;
  /** What must hold, as the end of "X does nothing without ...". */
  readonly without: string;
}

const withTemplate = (config: HypervisorConfig): boolean => config.bootToBeTemplate || config.bootFromTemplate;
const withVirtioFs = (config: HypervisorConfig): boolean => config.sharedFs === 'virtio-fs';

const dependences: readonly Dependence[] = [
  { field: 'msize9pBytes', on: (config) => config.sharedFs === 'virtio-9p', without: 'sharedFs virtio-9p' },
  { field: 'virtioFsDaemon', on: withVirtioFs, without: 'sharedFs virtio-fs' },
  { field: 'virtioFsCache', on: withVirtioFs, without: 'sharedFs virtio-fs' },
  { field: 'virtioFsCacheSizeMiB', on: withVirtioFs, without: 'sharedFs virtio-fs' },
  { field: 'virtioFsExtraArgs', on: withVirtioFs, without: 'sharedFs virtio-fs' },
  { field: 'blockDeviceCacheDirect', on: (config) => config.blockDeviceCacheSet, without: 'blockDeviceCacheSet' },
  { field: 'blockDeviceCacheNoflush', on: (config) => config.blockDeviceCacheSet, without: 'blockDeviceCacheSet' },
  {
    field: 'enableIoThreads',
    on: (config) => config.blockDeviceDriver === 'virtio-scsi',
    without: 'blockDeviceDriver virtio-scsi',
  },
  {
    field: 'guestMemoryDumpPaging',
    on: (config) => config.guestMemoryDumpPath !== undefined,
    without: 'guestMemoryDumpPath',
  },
  { field: 'mlock', on: (config) => config.realtime, without: 'realtime' },
  { field: 'vhostUserStorePath', on: (config) => config.enableVhostUserStore, without: 'enableVhostUserStore' },
  { field: 'memoryPath', on: withTemplate, without: 'bootToBeTemplate or bootFromTemplate' },
  { field: 'devicesStatePath', on: withTemplate, without: 'bootToBeTemplate or bootFromTemplate' },
];

/** A flag that is off or a list that is empty asks for nothing; `mlock: false` does, since its default is true. */
function asksForSomething(field: ConfigField, value: unknown): boolean {
  if (value === undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  return value !== false || field === 'mlock';
}

/** Fields that are set and do nothing, since one that they depend on is not set; `config` is the input with its defaults filled in. */
export function idleFields(input: VmConfigInput, config: HypervisorConfig): { field: ConfigField; without: string }[] {
  return dependences.filter(({ field, on }) => asksForSomething(field, input[field]) && !on(config));
}

/** No field is ignored: one that does something only together with another is refused without it. */
export const usefulnessRules: readonly Rule[] = dependences.map(({ field, on, without }) => ({ input, config }) => {
  if (!asksForSomething(field, input[field]) || on(config)) return;
  throw broken(field, `${field} does nothing without ${without}`, `Leave ${field} out, or set ${without}.`);
});
