import { type FieldUse, isNotYet } from '../config/field-use.ts';
import type { HypervisorType } from '../config/hypervisor-type.ts';
import type { ConfigField } from '../config/vm-config.ts';
import { driverTypes, loadDriver } from '../hypervisors/registry.ts';
import type { KeyNote } from './report.ts';

/** What a VMM does with the fields. For one that this version has no driver for, nothing is known that it has no use for. */
export async function fieldsOf(type: HypervisorType): Promise<FieldUse> {
  if (!driverTypes().includes(type)) return { hypervisor: type, uses: {}, unused: {} };
  return (await loadDriver(type)).fields;
}

/** Why a VMM does not take a field; undefined when it does. */
export function unusedNote({ unused }: FieldUse, field: ConfigField): KeyNote | undefined {
  const reason = unused[field];
  if (reason === undefined) return undefined;
  return { outcome: isNotYet(reason) ? 'unsupported' : 'no-meaning', reason };
}
