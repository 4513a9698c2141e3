import { setTimeout as delay } from 'node:timers/promises';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import type { HeldVm } from './held-vm.ts';

/** What a VM is to have. What is absent stays as it is. */
export interface VmResizeOptions extends CallOptions {
  /** from 1 to `maxVcpus` */
  vcpus?: number | undefined;
  /** in MiB, from what the VM started with; rounded up to what the guest adds memory by */
  memoryMiB?: number | undefined;
}

/** What a resize came to, as the VMM says. What was not asked for is absent. */
export interface VmResizeResult {
  vcpus?: { before: number; after: number };
  memoryMiB?: { before: number; after: number };
}

/** Most guests' memory block (x86-64 below 64 GiB); used when the guest says none. */
const usualBlockMiB = 128;
/** Milliseconds after which a guest that has not taken a vCPU will not take it. */
const quietMs = 5_000;
const maxPauseMs = 200;

/**
 * Gives a running VM another number of vCPUs or another size of memory; resolves when the guest uses it. Memory before vCPUs: when one of
 * the two fails, the result of the other stays.
 * @throws {VmError} INVALID_ARGUMENT, INVALID_STATE, UNSUPPORTED, GUEST_REFUSED, TIMEOUT, ABORTED, VMM_FAILED
 */
export async function resizeVm(
  held: HeldVm,
  agent: GuestAgent,
  { vcpus, memoryMiB, ...limits }: VmResizeOptions,
): Promise<VmResizeResult> {
  if (vcpus === undefined && memoryMiB === undefined)
    throw new VmError('INVALID_ARGUMENT', 'at least one of vcpus and memoryMiB is needed', { operation: 'resize' });
  const scope = callScope(`resize of ${held.name}`, limits);
  const call = { signal: scope.signal };
  const result: VmResizeResult = {};
  const changed: Pick<VmResizeOptions, 'vcpus' | 'memoryMiB'> = {};
  try {
    await held.locate();
    if (memoryMiB !== undefined) {
      const done = await held.hypervisor.resizeMemory(memoryMiB, await blockMiB(agent, call), false, call);
      changed.memoryMiB = done.memoryMiB;
      result.memoryMiB = { before: done.beforeMiB, after: done.memoryMiB };
    }
    if (vcpus !== undefined) {
      result.vcpus = await held.hypervisor.resizeVcpus(vcpus, call);
      changed.vcpus = result.vcpus.after;
    }
    // A guest may leave what comes offline until it is told to use it.
    const [, { cpus }] = await Promise.all([held.change(changed), agent.online(call)]);
    const { before = 0, after = 0 } = result.vcpus ?? {};
    if (after > before && cpus < after && (await loadDriver(held.hypervisor.type)).bootsGuest)
      await untilUsed(agent, after, call);
    return result;
  } catch (error) {
    // What was done stays, and is written down.
    if (Object.keys(changed).length > 0) await held.change(changed);
    throw error;
  } finally {
    scope.release();
  }
}

/** A guest's kernel hears of a vCPU a moment after its VMM has it; one that has no place for it says nothing. */
async function untilUsed(agent: GuestAgent, vcpus: number, call: CallOptions): Promise<void> {
  const began = performance.now();
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
    await delay(pauseMs, undefined, { signal: call.signal });
    const { cpus } = await agent.online(call);
    if (cpus >= vcpus) return;
    if (performance.now() - began > quietMs)
      throw new VmError('GUEST_REFUSED', `the guest uses ${cpus} of its ${vcpus} vCPUs`, {
        operation: 'resize',
        advice:
          'Its kernel has no place for more: look for `nr_cpus`, and for what it says of CPUs (`dmesg`). The VMM has them.',
      });
  }
}

/** In what pieces a guest takes memory; it is asked once for each connection, as that never changes. */
async function blockMiB(agent: GuestAgent, call: CallOptions): Promise<number> {
  const known = blockSizes.get(agent);
  if (known !== undefined) return known;
  const { memoryBlockBytes } = await agent.online(call);
  const size = memoryBlockBytes === 0 ? usualBlockMiB : memoryBlockBytes / 2 ** 20;
  blockSizes.set(agent, size);
  return size;
}

const blockSizes = new WeakMap<GuestAgent, number>();
