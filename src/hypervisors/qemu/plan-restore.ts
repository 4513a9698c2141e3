import { vmmFiles } from '../../state/paths.ts';
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
 * @param byItself it listens for the stream without being asked to, and lets the guest go on: nobody has to talk with its monitor
 */
export function restorePlan(
  context: VmContext,
  binary: string,
  saved: Omit<SavedMachine, 'stream'>,
  memoryPath?: string,
  byItself: boolean = false,
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
  const { runtimeFolder } = context;
  const files = fresh.files.map((file) =>
    byItself && file.path === vmmFiles.eventsIn(runtimeFolder)
      ? { ...file, content: `${file.content}${listening(vmmFiles.migration(runtimeFolder))}` }
      : file,
  );
  const waiting = byItself ? [] : ['-S'];
  return { ...fresh, memoryMiB, files, argv: [...fresh.argv, ...cpus, ...modules, ...waiting, '-incoming', 'defer'] };
}

/** The monitor on plain files carries out what stands there as soon as QEMU is up, which spares two conversations with another one. */
function listening(socket: string): string {
  const capabilities = [{ capability: 'x-ignore-shared', state: true }];
  const commands = [
    { execute: 'migrate-set-capabilities', arguments: { capabilities } },
    { execute: 'migrate-incoming', arguments: { uri: `unix:${socket}` } },
  ];
  return commands.map((command) => `${JSON.stringify(command)}\n`).join('');
}
