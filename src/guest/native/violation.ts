import { VmError } from '../../errors.ts';

/** AGENT_PROTOCOL: the agent sent what it must not. The session ends with it. */
export function violation(what: string, cause?: unknown): VmError {
  return new VmError('AGENT_PROTOCOL', `the guest agent broke the protocol: ${what}`, { cause });
}
