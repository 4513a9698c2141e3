import type { ConfinementRequest } from '../confinement/confinement.ts';
import type { VmContext } from './hypervisor.ts';
import type { LaunchPlan } from './launch-plan.ts';

/** What a VMM needs of its confinement. Pure. */
export function confinementRequest(context: VmContext, plan: LaunchPlan): ConfinementRequest {
  const { id, config, accel, confinement = 'off', cpuLimit, runtimeFolder, stateFolder } = context;
  const { binary, paths, networkNamespace, largestFileBytes, lockMemory, confinesItself, workingFolder } = plan;
  return {
    level: confinesItself === true ? 'off' : confinement,
    id,
    stateFolder,
    runtimeFolder,
    workingFolder,
    binary,
    paths,
    networkNamespace,
    descriptors: plan.descriptors,
    selinuxLabel: plan.selinuxLabel,
    largestFileBytes,
    lockMemory,
    memoryMiB: plan.memoryMiB ?? config.memoryMiB,
    vcpus: config.maxVcpus,
    emulated: accel === 'tcg',
    cpuLimit,
    hugePages: config.hugePages,
  };
}
