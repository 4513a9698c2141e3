import { setTimeout as delay } from 'node:timers/promises';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { MemoryDevice } from '../device.ts';
import { roundUp } from '../memory-modules.ts';
import type { FirecrackerControl } from './control.ts';

/** Milliseconds for a guest to take or to give back memory, when the caller gives no limit. */
const resizeMs = 60_000;
/** The longest pause between two looks at what the guest uses, in ms: Firecracker has no event that tells. */
const maxPauseMs = 100;

/** What came of a resize; totals in MiB. */
export interface MemoryResize {
  beforeMiB: number;
  memoryMiB: number;
  device?: MemoryDevice;
}

/**
 * Gives a guest another size of memory by its virtio-mem device, both ways; resolves when the guest uses it. A guest that does not come
 * there in time keeps what it had: the request is taken back.
 * @param sizes `blockMiB`: what the guest adds memory by, sizes are rounded up to it; `bootMiB`: what it started with
 * @param allow lets the VMM take what a guest of this size takes, in MiB
 * @throws {VmError} INVALID_ARGUMENT outside what the VM may have, TIMEOUT, ABORTED, VMM_FAILED, VMM_GONE
 */
export async function resizeMemory(
  control: FirecrackerControl,
  { memoryMiB, blockMiB, bootMiB }: { memoryMiB: number; blockMiB: number; bootMiB: number },
  allow: (memoryMiB: number) => void,
  options: CallOptions,
): Promise<MemoryResize> {
  const scope = callScope('resize of memory', { timeoutMs: resizeMs, ...options });
  const call = { signal: scope.signal };
  try {
    const before = await control.memory(call);
    const { plugged_size_mib: pluggedMiB, total_size_mib: mostMiB, block_size_mib: leastMiB } = before;
    if (!Number.isInteger(blockMiB) || blockMiB < 1)
      throw wrong('blockSizeMiB', 'a whole number of MiB above 0', blockMiB);
    if (!Number.isInteger(memoryMiB) || memoryMiB < bootMiB)
      throw wrong('memoryMiB', `at least the ${bootMiB} that the VM started with`, memoryMiB);
    const wantedMiB = roundUp(roundUp(memoryMiB - bootMiB, blockMiB), leastMiB);
    if (wantedMiB > mostMiB) throw wrong('memoryMiB', `at most ${bootMiB + mostMiB}`, memoryMiB);
    allow(bootMiB + wantedMiB);
    await control.requestMemory(wantedMiB, call);
    try {
      await settled(control, wantedMiB, call);
    } catch (error) {
      // Asked anew: what happens now is not the caller's wish any more.
      await control.requestMemory(before.requested_size_mib).catch(() => undefined);
      throw error;
    }
    const grownMiB = wantedMiB - pluggedMiB;
    return {
      beforeMiB: bootMiB + pluggedMiB,
      memoryMiB: bootMiB + wantedMiB,
      ...(grownMiB > 0 ? { device: { kind: 'memory', sizeMiB: grownMiB } } : {}),
    };
  } catch (error) {
    scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}

async function settled(control: FirecrackerControl, wantedMiB: number, call: CallOptions): Promise<void> {
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, maxPauseMs)) {
    if ((await control.memory(call)).plugged_size_mib === wantedMiB) return;
    await delay(pauseMs, undefined, { signal: call.signal });
  }
}

function wrong(field: string, wanted: string, given: number): VmError {
  return new VmError('INVALID_ARGUMENT', `${field} must be ${wanted}, not ${given}`, {
    operation: 'resizeMemory',
    field,
  });
}
