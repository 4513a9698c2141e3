import { isDeepStrictEqual } from 'node:util';
import { configFieldNames } from '../config/config-fields.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';

/** What the VMs of a cache server are, as it tells. */
export interface KeptMachine extends VmConfigInput {
  hypervisor?: string | undefined;
  /** they are clones of it, and the configuration is complete; else it is what was asked for */
  template?: string | undefined;
}

/** @throws {VmError} VMM_FAILED when this is nothing that a server of ours tells */
export function parseKept(data: Uint8Array): KeptMachine {
  try {
    const kept: unknown = JSON.parse(new TextDecoder().decode(data));
    if (typeof kept === 'object' && kept !== null && !Array.isArray(kept)) return kept;
  } catch {
    // Said below.
  }
  throw new VmError('VMM_FAILED', 'the cache server does not say what its VMs are', {
    advice: 'Is it a server of polyvisor?',
  });
}

/** In which fields VMs that stand ready are not what is wanted. Pure. */
export function differencesOf(kept: KeptMachine, wanted: KeptMachine): string[] {
  const differs = (field: keyof KeptMachine, value: unknown, wish: unknown): boolean => {
    if (wish === undefined && kept.template !== undefined) return false;
    // The guest image puts its own parameters before those that were given.
    if (field === 'kernelParams' && Array.isArray(value) && Array.isArray(wish))
      return !isDeepStrictEqual(wish.length === 0 ? [] : value.slice(-wish.length), plain(wish));
    return !isDeepStrictEqual(plain(value), plain(wish));
  };
  const fields = ['hypervisor', ...configFieldNames] as const;
  return fields.filter((field) => differs(field, kept[field], wanted[field]));
}

/** As it comes out of JSON, in which nothing is undefined. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
}
