import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { backendId, cpuId, moduleId } from './plan-ids.ts';
import { deviceArgument, object } from './devices-parts.ts';
import { isSaved } from './devices.ts';
import { planWith } from './plan.ts';
import { backend } from './plan-memory.ts';
import type { SavedMachine } from './state-saved.ts';

/**
 * What QEMU is told that is to go on with a saved VM: the machine as it was, with what was plugged, waiting for the stream. Pure.
 * @param memoryPath file of which it is to see the memory, privately; absent when the memory is in the stream
 */
export function restorePlan(
  context: VmContext,
  binary: string,
  saved: Omit<SavedMachine, 'stream'>,
  memoryPath?: string,
): LaunchPlan {
  const { machineType, vcpus, hostMemoryMiB } = saved;
  const memory = { bootToBeTemplate: false, bootFromTemplate: memoryPath !== undefined, memoryPath };
  const asSaved = { ...context, hostMemoryMiB, config: { ...context.config, ...memory, machineType, vcpus } };
  const fresh = planWith(
    asSaved,
    binary,
    saved.devices.filter((placed) => isSaved(placed, context.config)),
  );
  const cpus = saved.pluggedCpus.flatMap(({ place, type, props }) =>
    deviceArgument({ driver: type, id: cpuId(place), ...props }),
  );
  const modules = saved.modules.flatMap(({ slot, sizeMiB, addr }) => [
    ...object(backend(context.config, backendId(slot), sizeMiB)),
    ...deviceArgument({ driver: 'pc-dimm', id: moduleId(slot), memdev: backendId(slot), slot, addr }),
  ]);
  // What a virtio-mem device held is in the stream alone.
  const { virtioMem, memoryMiB: atBoot } = context.config;
  const memoryMiB = virtioMem ? hostMemoryMiB : saved.modules.reduce((sum, { sizeMiB }) => sum + sizeMiB, atBoot);
  return { ...fresh, memoryMiB, argv: [...fresh.argv, ...cpus, ...modules, '-S', '-incoming', 'defer'] };
}
