import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { CpuDevice, MemoryDevice } from '../device.ts';
import type { VmContext } from '../hypervisor.ts';
import { type MemoryModule, memoryChange } from '../memory-modules.ts';
import { cpuPlaces, isFilled, refuseAfterTcgUnplug, resizeVcpus } from './control-cpus.ts';
import { memoryModules, memoryTotal, plugModule, resizeMemory, unplugModule } from './control-memory.ts';

type SizeFacts = Pick<VmContext, 'config' | 'accel' | 'runtimeFolder' | 'hostMemoryMiB'>;

/** What virtio-mem is given in, in MiB: a size that is no multiple is rounded up. */
const virtioMemStepMiB = 2;

/**
 * Plugs vCPUs, or a memory module of this very size into the slot that is asked for or the first free one.
 * @throws {VmError} INVALID_ARGUMENT beyond the VM's limits or for a slot that is taken; UNSUPPORTED, GUEST_REFUSED, TIMEOUT, VMM_FAILED
 */
export async function plugSize(
  qmp: QmpClient,
  device: CpuDevice | MemoryDevice,
  facts: SizeFacts,
  call: CallOptions,
): Promise<void> {
  const { config, hostMemoryMiB } = facts;
  if (device.kind === 'cpu') {
    await resizeVcpus(qmp, (await vcpusNow(qmp, call)) + device.count, facts, call);
    return;
  }
  if (config.virtioMem) return resizeBy(qmp, device.sizeMiB, facts, call);
  const modules = await memoryModules(qmp, call);
  const limits = { bootMiB: config.memoryMiB, slots: config.memorySlots, maxMiB: hostMemoryMiB, blockMiB: 1 };
  const { add } = memoryChange(modules, config.memoryMiB + total(modules) + device.sizeMiB, limits);
  const slot = device.slot ?? add?.slot ?? 0;
  if (!(Number.isInteger(slot) && slot >= 0 && slot < config.memorySlots))
    throw wrong(`slot must be from 0 to ${config.memorySlots - 1}, not ${slot}`);
  if (modules.some((module) => module.slot === slot)) throw wrong(`there is a memory module in slot ${slot} already`);
  refuseAfterTcgUnplug(facts, 'hotplugAddDevice');
  await plugModule(qmp, { slot, sizeMiB: device.sizeMiB }, config, call);
}

/**
 * Takes away vCPUs, or the memory module in a slot; without one, a module of this size.
 * @throws {VmError} INVALID_ARGUMENT when it isn't there; GUEST_REFUSED, TIMEOUT, VMM_FAILED
 */
export async function unplugSize(
  qmp: QmpClient,
  device: CpuDevice | MemoryDevice,
  facts: SizeFacts,
  call: CallOptions,
): Promise<void> {
  if (device.kind === 'cpu') {
    await resizeVcpus(qmp, (await vcpusNow(qmp, call)) - device.count, facts, call);
    return;
  }
  if (facts.config.virtioMem) return resizeBy(qmp, -device.sizeMiB, facts, call);
  const fits = ({ slot, sizeMiB }: MemoryModule): boolean =>
    sizeMiB === device.sizeMiB && (device.slot === undefined || device.slot === slot);
  const module = (await memoryModules(qmp, call)).findLast(fits);
  if (module === undefined) {
    const where = device.slot === undefined ? '' : ` in slot ${device.slot}`;
    throw wrong(`there is no memory module of ${device.sizeMiB} MiB${where}`);
  }
  await unplugModule(qmp, module, call);
}

async function vcpusNow(qmp: QmpClient, call: CallOptions): Promise<number> {
  return (await cpuPlaces(qmp, call)).filter(isFilled).length;
}

/** By the virtio-mem device, which has no slots. */
async function resizeBy(qmp: QmpClient, sizeMiB: number, facts: SizeFacts, call: CallOptions): Promise<void> {
  const nowMiB = await memoryTotal(qmp, call);
  await resizeMemory(qmp, nowMiB + sizeMiB, virtioMemStepMiB, facts, call);
}

function total(modules: readonly MemoryModule[]): number {
  return modules.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
}

function wrong(message: string): VmError {
  return new VmError('INVALID_ARGUMENT', message, { field: 'slot' });
}
