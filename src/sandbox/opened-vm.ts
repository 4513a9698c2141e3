import type { AgentLink } from './agent-link.ts';
import type { HeldVm } from './held-vm.ts';
import type { Telemetry } from './telemetry.ts';

/** What a handle of a VM begins with. */
export interface OpenedVm {
  held: HeldVm;
  /** absent when there is no connection to the guest */
  link?: AgentLink | undefined;
  owned: boolean;
  detached: boolean;
  telemetry: Telemetry;
}
