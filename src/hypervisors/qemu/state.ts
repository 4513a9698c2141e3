import { VmError } from '../../errors.ts';
import type { ProcessIdentity } from '../../state/process-identity.ts';

/** What another process needs to go on with a QEMU that this one started. */
export interface QemuState {
  schema: 1;
  /** path of the QEMU that was started */
  binary: string;
  process?: ProcessIdentity | undefined;
}

/** @throws {VmError} STATE_INVALID */
export function parseState(value: unknown): QemuState {
  const state = value as Partial<QemuState> | null;
  if (typeof state !== 'object' || state === null || state.schema !== 1 || typeof state.binary !== 'string') {
    throw new VmError('STATE_INVALID', 'the saved state is not one that this version of the QEMU driver wrote');
  }
  const { process } = state;
  if (process !== undefined && !(Number.isInteger(process.pid) && process.pid > 1)) {
    throw new VmError('STATE_INVALID', 'the saved state names no valid process');
  }
  return { schema: 1, binary: state.binary, process };
}
