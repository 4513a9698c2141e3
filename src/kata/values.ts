import path from 'node:path';
import { configFields } from '../config/config-fields.ts';
import { DEFAULT_MEMORY_MIB, MAX_BRIDGES, MAX_VCPUS, MIN_HYPERVISOR_MEMORY_MIB } from '../config/defaults.ts';
import type { FieldType } from '../config/field-info.ts';
import type { HostFacts } from '../config/host.ts';
import { deserializeParams, kernelWords } from '../config/kernel-params.ts';
import type { ConfigField } from '../config/vm-config.ts';
import type { TomlValue } from '../toml/document.ts';
import { plain } from '../toml/values.ts';
import type { KataVersion } from './report.ts';

/** What clamping depends on. */
export interface ValueFacts {
  readonly host: HostFacts;
  readonly version: KataVersion;
}

/** What a value of Kata's becomes. */
export interface Converted {
  /** absent: the option keeps its default */
  readonly value?: unknown;
  /** how the value was changed */
  readonly note?: string;
  /** why there is no such value here, although Kata has it */
  readonly unsupported?: string;
  /** what is wrong with it, for Kata too */
  readonly problem?: string;
}

type Convert = (value: never, facts: ValueFacts) => Converted;

/** Fields whose values need more than their type says, by the rules of Kata's own loader. */
const special: { readonly [K in ConfigField]?: Convert } = {
  vcpus: (vcpus: number, { host }) => {
    const most = Math.min(host.cpus, MAX_VCPUS[host.arch]);
    if (vcpus < 0) return { value: most, note: `below 0 stands for the host's CPUs` };
    if (vcpus > most) return { value: most, note: `${vcpus} is above the host's ${most} CPUs` };
    if (vcpus === 0) return theDefault;
    return Number.isInteger(vcpus)
      ? { value: vcpus }
      : { value: Math.ceil(vcpus), note: 'rounded up: a VM has whole vCPUs' };
  },
  maxVcpus: (vcpus: number, { host }) => {
    const most = Math.min(host.cpus, MAX_VCPUS[host.arch]);
    if (vcpus === 0) return { value: most, note: `0 stands for the host's CPUs` };
    return vcpus > most ? { value: most, note: `${vcpus} is above the host's ${most} CPUs` } : { value: vcpus };
  },
  memoryMiB: (mib: number, { version }) => {
    if (mib === 0) return theDefault;
    if (version === '1.x' || mib >= MIN_HYPERVISOR_MEMORY_MIB) return { value: mib };
    const note = `less than ${MIN_HYPERVISOR_MEMORY_MIB} MiB stands for the default`;
    return { value: DEFAULT_MEMORY_MIB, note };
  },
  defaultBridges: (bridges: number) => {
    if (bridges === 0) return theDefault;
    return bridges > MAX_BRIDGES
      ? { value: MAX_BRIDGES, note: `${bridges} is above ${MAX_BRIDGES}` }
      : { value: bridges };
  },
  kernelParams: (text: string) => ({ value: deserializeParams(kernelWords(text)) }),
  cpuFeatures: (text: string) => ({ value: listed(text) }),
  machineAccelerators: (text: string) => ({ value: listed(text) }),
  mlock: (swap: boolean) => ({ value: !swap, note: 'the inverse' }),
  sharedFs: (name: string) => {
    if (name === 'none') return { note: 'nothing is shared that is not asked for' };
    if (name === 'virtio-fs-nydus' || name === 'inline-virtio-fs')
      return { unsupported: 'folders are shared by 9p or virtio-fs' };
    return oneOf(name, 'sharedFs', 'shared file system', 'file systems');
  },
  blockDeviceDriver: (name: string) => {
    // Kata's runtime in Rust has longer names for two of them, and one that is its own.
    if (name === 'virtio-blk-pci') return { value: 'virtio-blk' };
    if (name === 'virtio-blk-mmio') return { value: 'virtio-mmio' };
    if (name === 'virtio-pmem') return { unsupported: 'a disk is no persistent memory' };
    return oneOf(name, 'blockDeviceDriver', 'block storage driver', 'drivers');
  },
};

const theDefault: Converted = { note: 'the default' };

/** What is wrong with the type of a value, as what it should be; undefined when nothing is. */
export function wrongType(field: ConfigField, value: TomlValue): string | undefined {
  switch (kindFor(field)) {
    case 'boolean':
      return value.kind === 'boolean' ? undefined : 'true or false';
    case 'string':
      return value.kind === 'string' ? undefined : 'text';
    case 'strings':
      return isTexts(value) ? undefined : 'a list of texts';
    case 'number':
      return isInt32(value) ? undefined : 'a number of vCPUs';
    default:
      return isUint32(value) ? undefined : 'a whole number from 0 to 4294967295';
  }
}

/**
 * A value of Kata's file, of the right type, as a value of the field: clamped, split and inverted as Kata does. Kata has no absent
 * values: 0, "" and [] stand for the default.
 */
export function convert(field: ConfigField, toml: TomlValue, facts: ValueFacts): Converted {
  const value = plain(toml);
  if (value === '' || (Array.isArray(value) && value.length === 0)) return theDefault;
  const rule = special[field];
  if (rule !== undefined) return rule(value as never, facts);
  if (value === 0) return theDefault;
  const { type } = configFields[field];
  if (type.kind === 'list') return withoutEmpty(value as string[]);
  // Kata takes relative paths, from the current folder. That of the hooks is one in the guest.
  if (type.kind === 'path' && field !== 'guestHookPath') return { value: path.resolve(value as string) };
  return { value };
}

/** Kata's own files have empty patterns, which match nothing. */
function withoutEmpty(list: readonly string[]): Converted {
  const value = list.filter((entry) => entry !== '');
  return value.length === list.length ? { value } : { value, note: 'without its empty entries' };
}

/** Entries between commas, without blanks around them and without empty ones: `,, abc ,,` is `abc`. */
function listed(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function oneOf(name: string, field: ConfigField, what: string, plural: string): Converted {
  const { type } = configFields[field];
  const values: readonly string[] = type.kind === 'choice' ? type.values : [];
  if (values.includes(name)) return { value: name };
  // A message is one line, whatever was written there.
  const shown = name.replaceAll(/\s+/g, ' ');
  return { problem: `Invalid hypervisor ${what} ${shown} specified (supported ${plural}: ${values.join(', ')})` };
}

type Kind = 'boolean' | 'string' | 'strings' | 'number' | 'uint32';

const kinds: Readonly<Record<FieldType['kind'], Kind>> = {
  flag: 'boolean',
  integer: 'uint32',
  text: 'string',
  path: 'string',
  choice: 'string',
  list: 'strings',
  params: 'string',
  assets: 'string',
};

/** Kata writes some lists as one text, and today's Kata takes parts of a vCPU. */
function kindFor(field: ConfigField): Kind {
  if (field === 'vcpus') return 'number';
  if (field === 'machineAccelerators' || field === 'cpuFeatures') return 'string';
  return kinds[configFields[field].type.kind];
}

function isTexts(value: TomlValue): boolean {
  return value.kind === 'array' && value.value.every(({ kind }) => kind === 'string');
}

function isInt32(value: TomlValue): boolean {
  return (value.kind === 'integer' || value.kind === 'float') && Math.abs(value.value) < 2 ** 31;
}

function isUint32(value: TomlValue): boolean {
  return value.kind === 'integer' && value.value >= 0 && value.value < 2 ** 32;
}
