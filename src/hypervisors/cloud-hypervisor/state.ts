import { VmError } from '../../errors.ts';
import { parseProgramState, type ProgramState } from '../program-state.ts';

/** What another process needs to go on with a Cloud Hypervisor. Its devices are in a file (state-devices.ts). */
export interface CloudHypervisorState extends ProgramState {
  /** what it was built with, as it said; absent before it ran */
  features?: readonly string[] | undefined;
}

/** @throws {VmError} STATE_INVALID */
export function parseState(value: unknown): CloudHypervisorState {
  const state = parseProgramState(value);
  const { features } = value as Partial<CloudHypervisorState>;
  if (features !== undefined && !(Array.isArray(features) && features.every((word) => typeof word === 'string')))
    throw new VmError('STATE_INVALID', 'the saved state names no valid features');
  return { ...state, features };
}
