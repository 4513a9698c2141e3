import { VmError } from '../../errors.ts';
import type { Arch, GuestArch, HostFacts } from '../host.ts';
import type { HypervisorConfig, VmConfigInput } from '../vm-config.ts';

/** What a rule looks at. */
export interface RuleFacts {
  /** What the user wrote: tells a set field from a default. */
  readonly input: VmConfigInput;
  readonly config: HypervisorConfig;
  readonly host: HostFacts;
  /** The VMM's id, for messages. */
  readonly hypervisor: string;
  /** Most vCPUs that architecture and VMM take. */
  readonly mostVcpus: number;
  /** The guest's. */
  readonly arch: Arch;
  /** That of the kernel that is named, where its file tells. */
  readonly kernelArch: GuestArch | undefined;
  /** Whether the VMM runs guests of an architecture other than the host's. */
  readonly emulates: boolean;
}

/** A rule across fields: throws INVALID_CONFIG when broken. */
export type Rule = (facts: RuleFacts) => void;

/** The error of a broken rule. */
export function broken(field: string, message: string, advice?: string): VmError {
  return new VmError('INVALID_CONFIG', message, advice === undefined ? { field } : { field, advice });
}
