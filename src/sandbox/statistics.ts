import { setTimeout as delay } from 'node:timers/promises';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent, GuestInfo } from '../guest/agent.ts';
import type { VmmStatistics } from '../hypervisors/vmm-statistics.ts';
import { endless } from './endless.ts';
import type { HeldVm } from './held-vm.ts';

/** What a VM uses, at one moment. */
export interface VmStatistics {
  /** ISO 8601, UTC */
  at: string;
  name: string;
  id: string;
  /** on the host */
  vmm: VmmStatistics;
  /** inside, as the guest itself says; absent without a connection to its agent, or when it does not answer */
  guest?: GuestInfo | undefined;
  /** processor time of the VMM since the sample before, 100 being one processor; absent in a first one */
  cpuPercent?: number | undefined;
}

/** How a VM's figures are followed. */
export interface WatchStatisticsOptions {
  /** between two samples; default 1000 */
  intervalMs?: number | undefined;
  /** ends the iteration */
  signal?: AbortSignal | undefined;
}

/** Milliseconds that a guest gets to tell its figures: those of the host don't wait for it any longer. */
const guestMs = 2000;

/** @throws {VmError} VMM_GONE, NOT_FOUND, TIMEOUT, ABORTED */
export async function statisticsOf(
  held: HeldVm,
  agent: GuestAgent | undefined,
  call: CallOptions = {},
): Promise<VmStatistics> {
  const [vmm, guest] = await Promise.all([
    held.hypervisor.statistics(call),
    held.hypervisor.state === 'paused'
      ? undefined
      : agent?.info({ signal: call.signal, timeoutMs: guestMs }).catch(unlessAborted),
  ]);
  return { at: new Date().toISOString(), name: held.name, id: held.id, vmm, guest };
}

/** Samples until the VM has ended, the signal comes or the iteration is left. No sample is taken before it is asked for. */
export function watchStatistics(
  sample: (signal: AbortSignal) => Promise<VmStatistics>,
  { intervalMs = 1000, signal }: WatchStatisticsOptions,
): AsyncIterableIterator<VmStatistics> {
  if (!(intervalMs >= 1 && intervalMs < 2 ** 31)) {
    throw new VmError('INVALID_ARGUMENT', `intervalMs must be at least 1 and below 2^31, not ${intervalMs}`);
  }
  return endless(signal, async function* (over) {
    let before: { cpuTimeMs: number; atMs: number } | undefined;
    for (;;) {
      const next = await sample(over).catch((error: unknown) => {
        if (over.aborted || VmError.from(error).code === 'VMM_GONE') return undefined;
        throw error;
      });
      if (next === undefined) return;
      const { cpuTimeMs } = next.vmm;
      const atMs = performance.now();
      const cpuPercent = before && Math.max(0, ((cpuTimeMs - before.cpuTimeMs) / (atMs - before.atMs)) * 100);
      before = { cpuTimeMs, atMs };
      yield { ...next, cpuPercent };
      await delay(intervalMs, undefined, { signal: over }).catch(() => undefined);
      if (over.aborted) return;
    }
  });
}

function unlessAborted(error: unknown): undefined {
  if (VmError.from(error).code === 'ABORTED') throw error;
}
