import { VmError } from '../errors.ts';
import { configFieldNames } from './config-fields.ts';
import type { Arch } from './host.ts';
import type { ConfigField, HypervisorConfig } from './vm-config.ts';

/** What one VMM does with the config: every field is either in `uses` or in `unused`. */
export interface FieldUse {
  /** The VMM's id, for messages. */
  readonly hypervisor: string;
  readonly uses: { readonly [K in ConfigField]?: true };
  /** Why a field means nothing to this VMM, as the end of the sentence "X has no use for Y: ...". */
  readonly unused: { readonly [K in ConfigField]?: string };
  /** Defaults of this VMM, which win over the general ones. */
  readonly defaults?: Partial<HypervisorConfig>;
  /** Those that are others for guests of an architecture. */
  readonly archDefaults?: { readonly [A in Arch]?: Partial<HypervisorConfig> };
  /** Most vCPUs this VMM takes, where that is less than the architecture's. */
  readonly maxVcpus?: number;
}

/** Whether a field is unused because our driver lacks it, and not because it has no meaning for the VMM: drivers say so in these words. */
export function isNotYet(reason: string): boolean {
  return reason.endsWith('does not offer it yet');
}

/**
 * Checks that a VMM says of every config field, once, whether it uses it. For tests.
 * @throws {VmError} INTERNAL naming the fields that are missing, named twice, unknown or without a reason
 */
export function assertCovers(use: FieldUse): void {
  const problems: string[] = [];
  for (const field of configFieldNames) {
    const used = Object.hasOwn(use.uses, field);
    const reason = use.unused[field];
    if (used && reason !== undefined) problems.push(`${field} is both used and unused`);
    if (!used && reason === undefined) problems.push(`${field} is missing`);
    if (reason?.trim() === '') problems.push(`${field} is unused without a reason`);
  }
  const known: readonly string[] = configFieldNames;
  for (const field of [...Object.keys(use.uses), ...Object.keys(use.unused), ...Object.keys(use.defaults ?? {})]) {
    if (!known.includes(field)) problems.push(`${field} is no config field`);
  }
  for (const field of Object.keys(use.defaults ?? {})) {
    if (Object.hasOwn(use.unused, field)) problems.push(`${field} has a default but no use`);
  }
  if (problems.length > 0) {
    throw new VmError('INTERNAL', `Fields of ${use.hypervisor}: ${problems.join('; ')}`, {
      hypervisor: use.hypervisor,
    });
  }
}
