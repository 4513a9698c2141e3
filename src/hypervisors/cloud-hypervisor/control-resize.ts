import { setTimeout as delay } from 'node:timers/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { MemoryDevice } from '../device.ts';
import { memoryChange } from '../memory-modules.ts';
import type { CloudHypervisorControl } from './control.ts';
import type { LiveScope } from './control-plug.ts';
import { pluggableMiB } from './plan.ts';

const mib = 2 ** 20;
/** The longest pause between two looks at what the guest uses, in ms: Cloud Hypervisor has no event that tells. */
const maxPauseMs = 100;
/** Milliseconds without a change after which a guest takes or gives back no more. */
const quietMs = 15_000;

/** What came of a resize; totals in MiB. */
export interface MemoryResize {
  beforeMiB: number;
  memoryMiB: number;
  device?: MemoryDevice;
}

/**
 * Gets a VM to at least this much memory, by a slot or by its virtio-mem device.
 * @throws {VmError} INVALID_ARGUMENT beyond its limits; GUEST_REFUSED when the guest keeps what it has; VMM_FAILED, TIMEOUT, ABORTED
 */
export async function resizeMemory(
  { context, vmm, control }: LiveScope,
  memoryMiB: number,
  blockMiB: number,
  call: CallOptions,
): Promise<MemoryResize> {
  const { config } = context;
  const bootMiB = config.memoryMiB;
  const limits = { bootMiB, slots: 1, maxMiB: bootMiB + pluggableMiB(context), blockMiB };
  // As if what is plugged were one module that can have any size.
  const wantedMiB = bootMiB + (memoryChange([], memoryMiB, limits).add?.sizeMiB ?? 0);
  const info = await control.info(call);
  const beforeMiB = info.memory_actual_size / mib;
  const { zones } = info.config.memory;
  if (zones !== undefined && zones !== null && zones.length > 0 && wantedMiB !== beforeMiB) {
    throw new VmError(
      'UNSUPPORTED',
      "memory that is mapped from a file, as a template's, a clone's and a restored VM's, has one size",
      {
        operation: 'resizeMemory',
        field: 'memoryMiB',
        advice: 'Make the template with as much memory as a clone is to have; restore a snapshot with `growable`.',
      },
    );
  }
  if (wantedMiB < beforeMiB && !config.virtioMem) {
    throw new VmError('INVALID_ARGUMENT', `the VM has ${beforeMiB} MiB, and what was plugged by ACPI stays`, {
      operation: 'resizeMemory',
      field: 'memoryMiB',
      advice: 'Start the VM with `virtioMem`, which gives back memory.',
    });
  }
  if (wantedMiB === beforeMiB) return { beforeMiB, memoryMiB: beforeMiB };
  vmm.allowMemory(wantedMiB);
  await control.resize({ desired_ram: wantedMiB * mib }, call);
  await settled(control, wantedMiB, call);
  const grownMiB = wantedMiB - beforeMiB;
  return {
    beforeMiB,
    memoryMiB: wantedMiB,
    ...(grownMiB > 0 ? { device: { kind: 'memory', sizeMiB: grownMiB } } : {}),
  };
}

/** Waits until the guest uses what it was asked to. One that stops on the way is left where it is. */
async function settled(control: CloudHypervisorControl, wantedMiB: number, call: CallOptions): Promise<void> {
  let last = { sizeMiB: -1, at: performance.now() };
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
    const sizeMiB = (await control.info(call)).memory_actual_size / mib;
    if (sizeMiB === wantedMiB) return;
    if (sizeMiB !== last.sizeMiB) last = { sizeMiB, at: performance.now() };
    if (performance.now() - last.at > quietMs) {
      // Nothing is to change behind the caller's back.
      await control.resize({ desired_ram: sizeMiB * mib }, call);
      const verb = sizeMiB > wantedMiB ? 'keeps' : 'does not take';
      const text = `the guest ${verb} ${Math.abs(sizeMiB - wantedMiB)} MiB`;
      throw new VmError('GUEST_REFUSED', text, { operation: 'resizeMemory' });
    }
    await delay(pauseMs, undefined, { signal: call.signal });
  }
}

/**
 * Plugs vCPUs, or has the guest let go of the last ones.
 * @param threads thread ids by vCPU, as they are
 * @throws {VmError} INVALID_ARGUMENT below 1 or above the maximum; GUEST_REFUSED when the guest keeps one; BUSY while an earlier removal waits
 */
export async function resizeVcpus(
  control: CloudHypervisorControl,
  vcpus: number,
  { maxVcpus }: { maxVcpus: number },
  threads: () => Promise<ReadonlyMap<number, number>>,
  call: CallOptions,
): Promise<{ before: number; after: number }> {
  if (!(Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= maxVcpus))
    throw new VmError('INVALID_ARGUMENT', `vcpus must be from 1 to ${maxVcpus}, not ${vcpus}`, { field: 'vcpus' });
  const before = (await threads()).size;
  if (vcpus === before) return { before, after: before };
  await control.resize({ desired_vcpus: vcpus }, call);
  const began = performance.now();
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
    const after = (await threads()).size;
    if (after === vcpus) return { before, after };
    if (performance.now() - began > quietMs)
      throw new VmError('GUEST_REFUSED', `the guest keeps ${after - vcpus} of its vCPUs`, { operation: 'resizeVcpus' });
    await delay(pauseMs, undefined, { signal: call.signal });
  }
}
