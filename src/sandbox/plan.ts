import type { HypervisorType } from '../config/hypervisor-type.ts';
import { assetPath } from '../config/assets.ts';
import { previewConfinement } from '../confinement/confinement.ts';
import type { ConfinementPlan } from '../confinement/confinement-plan.ts';
import { VmError } from '../errors.ts';
import { confinementRequest } from '../hypervisors/confinement-request.ts';
import type { LaunchPlan } from '../hypervisors/launch-plan.ts';
import { usableBinary } from '../hypervisors/vmm-process.ts';
import { contextOf } from './context.ts';
import { prepare } from './prepare.ts';
import { madeUpName } from './vm-name.ts';
import { splitOptions, type VmOptions } from './vm-options.ts';
import { VmStore } from '../state/store.ts';
import { runtimeFolder } from '../state/paths.ts';

/** What a VMM would be told, and by whom. */
export interface PlannedVm {
  hypervisor: HypervisorType;
  plan: LaunchPlan;
  /** how the VMM would be confined; a uid of its own is the first of the range here */
  confinement: ConfinementPlan;
}

/** The id that stands in a plan for the one that a real VM would get. */
const planId = '0'.repeat(12);

/**
 * What `Vm.create` would tell the VMM with these options. Starts nothing and makes no VM; the default guest is built when it is needed and
 * missing. `onEvent` hears the notices.
 * @throws {VmError} as `Vm.create` does before it makes a VM
 */
export async function planVm(options: VmOptions = {}): Promise<PlannedVm> {
  const split = splitOptions(options);
  const field = split.devices.length > 0 ? 'devices' : split.scratch?.on === 'disk' ? 'scratch' : undefined;
  if (field !== undefined)
    throw new VmError('INVALID_ARGUMENT', `a plan is of the configuration alone: it has no place for \`${field}\``, {
      field,
    });
  const prepared = await prepare(split, (phase, message) =>
    split.onEvent({ type: 'phase', phase, message, elapsedMs: 0 }),
  );
  const { module, config, host, at } = prepared;
  const binary = usableBinary(await module.probe(host, assetPath(config, 'hypervisor'), config.arch));
  const name = split.name ?? madeUpName();
  const record = {
    schema: 1 as const,
    id: planId,
    name,
    hypervisor: module.type,
    createdAt: '',
    status: 'creating' as const,
    detached: split.detached,
    runtimeFolder: runtimeFolder(at, planId),
    accel: prepared.accel,
  };
  const { networkNamespace, cpuLimit } = split;
  const settings = { config, networkNamespace, cpuLimit, confinement: prepared.confinement };
  const context = contextOf(new VmStore(at), record, settings, host.memoryMiB);
  const plan = module.plan(context, binary);
  const confinement = await previewConfinement(confinementRequest(context, plan));
  return { hypervisor: module.type, plan, confinement };
}
