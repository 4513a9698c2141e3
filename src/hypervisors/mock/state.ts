import { VmError } from '../../errors.ts';
import type { ProcessIdentity } from '../../state/process-identity.ts';

/** What another process needs to go on with a mock that this one started. */
export interface MockState {
  schema: 1;
  binary: string;
  process?: ProcessIdentity | undefined;
}

/** @throws {VmError} STATE_INVALID */
export function parseState(value: unknown): MockState {
  const state = value as Partial<MockState> | null;
  if (typeof state !== 'object' || state === null || state.schema !== 1 || typeof state.binary !== 'string') {
    throw new VmError('STATE_INVALID', 'the saved state is not one that this version of the mock wrote');
  }
  return { schema: 1, binary: state.binary, process: state.process };
}
