import { checkLevel, defaultLevel } from '../confinement/confinement.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { requireSupport } from '../hypervisors/capabilities.ts';
import type { HypervisorModule } from '../hypervisors/hypervisor.ts';
import type { VmEventListener } from './events.ts';

/**
 * The confinement of a VM: what is asked for, or what this user can have. One notice says what that lacks.
 * @throws {VmError} HOST_MISSING when this user can't have what was asked for, UNSUPPORTED for a hypervisor that isolates nothing
 */
export async function chooseConfinement(
  module: HypervisorModule,
  asked: ConfinementLevel | undefined,
  onEvent: VmEventListener,
): Promise<ConfinementLevel> {
  const { isolation } = module.capabilities;
  if (isolation !== true) {
    if (asked === 'strict') requireSupport(module.type, 'strict confinement', isolation);
    return 'off';
  }
  const level = asked ?? defaultLevel();
  const lacks = await checkLevel(level);
  if (lacks !== undefined) onEvent({ type: 'notice', message: lacks });
  return level;
}
