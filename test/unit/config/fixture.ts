import { expect } from 'vitest';

import { configFieldNames } from '../../../src/config/config-fields.ts';
import { completeConfig } from '../../../src/config/complete.ts';
import type { FieldUse } from '../../../src/config/field-use.ts';
import type { HostFacts } from '../../../src/config/host.ts';
import type { HypervisorConfig, VmConfigInput } from '../../../src/config/vm-config.ts';
import { type ErrorCode, VmError } from '../../../src/errors.ts';

export const host: HostFacts = { arch: 'amd64', cpus: 4, memoryMiB: 8192, runningOnVmm: false, uid: 1000 };

/** A VMM that uses every field. */
export const usesAll: FieldUse = {
  hypervisor: 'all',
  uses: Object.fromEntries(configFieldNames.map((name) => [name, true])),
  unused: {},
};

export const bootable: VmConfigInput = { kernel: '/boot/kernel', initrd: '/boot/initrd' };

export function complete(
  input: VmConfigInput,
  facts: { fields?: FieldUse; host?: Partial<HostFacts> } = {},
): HypervisorConfig {
  return completeConfig(
    { ...bootable, ...input },
    { fields: facts.fields ?? usesAll, host: { ...host, ...facts.host } },
  );
}

/** The VmError a call throws; fails when it throws none or another error. */
export function errorOf(call: () => unknown): VmError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(VmError);
    return error as VmError;
  }
  throw new Error('nothing was thrown');
}

/** The VmError a promise rejects with; fails when it resolves or rejects with another error. */
export async function rejection(promise: Promise<unknown>): Promise<VmError> {
  const reason = await promise.then(
    () => new Error('nothing was thrown'),
    (error: unknown) => error,
  );
  expect(reason).toBeInstanceOf(VmError);
  return reason as VmError;
}

/** What a VmError must look like, for toMatchObject. */
export function failing(code: ErrorCode, field?: string): object {
  return field === undefined ? { code } : { code, facts: { field } };
}
