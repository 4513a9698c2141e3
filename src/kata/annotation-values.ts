import { configFields } from '../config/config-fields.ts';
import { MAX_VCPUS, MIN_HYPERVISOR_MEMORY_MIB } from '../config/defaults.ts';
import type { HostFacts } from '../config/host.ts';
import { deserializeParams, kernelWords, type Param } from '../config/kernel-params.ts';
import { show } from '../config/show.ts';
import type { ConfigField, VmConfigInput } from '../config/vm-config.ts';

/** What the value of an annotation becomes: `value`, nothing (the option stays as it is), or a `problem`. */
export interface AnnotationValue {
  readonly value?: unknown;
  readonly problem?: string;
}

/** What reading a value looks at. */
export interface AnnotationFacts {
  readonly name: string;
  readonly before: VmConfigInput;
  readonly host: HostFacts;
  /** most vCPUs of the VMM */
  readonly mostVcpus: number;
}

type Read = (text: string, facts: AnnotationFacts) => AnnotationValue;

/** Fields whose annotations have rules of their own. */
const special: { readonly [K in ConfigField]?: Read } = {
  vcpus: (text, facts) =>
    whole(text, facts, (vcpus) => {
      if (vcpus <= facts.host.cpus) return undefined;
      return `Number of cpus ${vcpus} specified in annotation default_vcpus is greater than the number of CPUs ${facts.host.cpus} on the system`;
    }),
  maxVcpus: (text, facts) =>
    whole(text, facts, (vcpus) => {
      const { host, mostVcpus } = facts;
      if (vcpus > host.cpus)
        return `Number of cpus ${vcpus} in annotation default_maxvcpus is greater than the number of CPUs ${host.cpus} on the system`;
      const most = Math.min(mostVcpus, MAX_VCPUS[host.arch]);
      return vcpus > most
        ? `Number of cpus ${vcpus} in annotation default_maxvcpus is greater than max no of CPUs ${most} supported`
        : undefined;
    }),
  memoryMiB: (text, facts) =>
    whole(text, facts, (mib) =>
      mib >= MIN_HYPERVISOR_MEMORY_MIB
        ? undefined
        : `Memory specified in annotation ${facts.name} is less than minimum required ${MIN_HYPERVISOR_MEMORY_MIB}, please specify a larger value`,
    ),
  msize9pBytes: (text, facts) =>
    whole(text, facts, (bytes) =>
      bytes > 0 ? undefined : 'Error parsing annotation for msize_9p, please specify positive numeric value',
    ),
  mlock: (text, facts) => {
    const { value: swap, problem } = flagOf(text, facts);
    return problem === undefined ? { value: swap !== true } : { problem };
  },
  kernelParams: (text, { before }) => ({
    value: [...(before.kernelParams ?? []), ...deserializeParams(kernelWords(text))] satisfies Param[],
  }),
  numaMapping: (text) => ({ value: text.split(/\s+/).filter((part) => part !== '') }),
  virtioFsExtraArgs: (text, { name, before }) => {
    const args = jsonTexts(text);
    if (args === undefined) return { problem: `Error parsing annotation for ${name}: a JSON list of texts is needed` };
    return { value: [...(before.virtioFsExtraArgs ?? []), ...args] };
  },
};

/** Reads the text of an annotation as a value of the field, as Kata does. An empty text changes nothing. */
export function annotationValue(field: ConfigField, text: string, facts: AnnotationFacts): AnnotationValue {
  if (text === '' && configFields[field].type.kind !== 'flag' && configFields[field].type.kind !== 'integer') return {};
  const read = special[field];
  if (read !== undefined) return read(text, facts);
  const { type } = configFields[field];
  switch (type.kind) {
    case 'flag':
      return flagOf(text, facts);
    case 'integer':
      return whole(text, facts, () => undefined);
    case 'list':
      return { value: text.split(',').flatMap((part) => (part.trim() === '' ? [] : [part.trim()])) };
    case 'text':
    case 'path':
    case 'choice':
    case 'params':
    case 'assets':
      return { value: text };
  }
  return type satisfies never;
}

/** Words that Go takes for true and false. */
const words: ReadonlyMap<string, boolean> = new Map(
  [true, false].flatMap((flag) =>
    (flag ? ['1', 't', 'T', 'TRUE', 'true', 'True'] : ['0', 'f', 'F', 'FALSE', 'false', 'False']).map(
      (word) => [word, flag] as const,
    ),
  ),
);

function flagOf(text: string, { name }: AnnotationFacts): AnnotationValue {
  const value = words.get(text);
  if (value !== undefined) return { value };
  return { problem: `Error parsing annotation for ${name}: Please specify boolean value 'true|false'` };
}

/** A whole number of 32 bits. 0 leaves the option as it is, once it is checked. */
function whole(text: string, { name }: AnnotationFacts, check: (value: number) => string | undefined): AnnotationValue {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value < 2 ** 32))
    return { problem: `Error parsing annotation for ${name}: ${show(text)}, please specify positive numeric value` };
  const problem = check(value);
  if (problem !== undefined) return { problem };
  return value === 0 ? {} : { value };
}

function jsonTexts(text: string): string[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((it) => typeof it === 'string') ? value : undefined;
  } catch {
    return undefined;
  }
}
