import { VmError } from '../errors.ts';
import { isIdentity, type ProcessIdentity } from '../state/process-identity.ts';

/** What another process needs to go on with a VMM that is one program. */
export interface ProgramState {
  schema: 1;
  /** path of the program that was started */
  binary: string;
  /** as the program said it; absent before it was looked for */
  version?: string | undefined;
  process?: ProcessIdentity | undefined;
}

/** @throws {VmError} STATE_INVALID */
export function parseProgramState(value: unknown): ProgramState {
  const state = value as Partial<ProgramState> | null | undefined;
  if (typeof state !== 'object' || state === null || state.schema !== 1 || typeof state.binary !== 'string') {
    throw new VmError('STATE_INVALID', 'the saved state is not one that this version of the driver wrote');
  }
  const { binary, process, version } = state;
  if (process !== undefined && !isIdentity(process))
    throw new VmError('STATE_INVALID', 'the saved state names no valid process');
  if (version !== undefined && typeof version !== 'string')
    throw new VmError('STATE_INVALID', 'the saved state names no valid version');
  return { schema: 1, binary, version, process };
}
