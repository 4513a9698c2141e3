import type { FieldInfo, FieldType } from './field-info.ts';
import { blockFields } from './fields/block.ts';
import { bootFields } from './fields/boot.ts';
import { cpuFields } from './fields/cpu.ts';
import { deviceFields } from './fields/devices.ts';
import { memoryFields } from './fields/memory.ts';
import { policyFields } from './fields/policy.ts';
import { programFields } from './fields/programs.ts';
import { sharingFields } from './fields/sharing.ts';
import { templateFields } from './fields/template.ts';
import type { ConfigField } from './vm-config.ts';

interface LooseSpec {
  readonly type: FieldType;
  readonly meaning: string;
}

function named<K extends string>(group: string, specs: Readonly<Record<K, LooseSpec>>): Record<K, FieldInfo> {
  const entries = Object.entries<LooseSpec>(specs).map(([name, spec]) => [name, { name, group, ...spec }]);
  return Object.fromEntries(entries) as Record<K, FieldInfo>;
}

/** All that is known of every config field, in the order of the docs: the source of the schema, the docs and the Kata importer. */
export const configFields: Readonly<Record<ConfigField, FieldInfo>> = {
  ...named('CPU', cpuFields),
  ...named('Memory', memoryFields),
  ...named('What is booted', bootFields),
  ...named('Programs', programFields),
  ...named('Block devices', blockFields),
  ...named('Shared folders', sharingFields),
  ...named('Buses and devices', deviceFields),
  ...named('Templates', templateFields),
  ...named('Hooks, labels and annotations', policyFields),
};

/** Every field name, in the order of the docs. */
export const configFieldNames: readonly ConfigField[] = Object.keys(configFields) as ConfigField[];
