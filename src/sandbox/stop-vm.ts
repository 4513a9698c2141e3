import { callScope, type CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import type { Hypervisor } from '../hypervisors/hypervisor.ts';
import { VmStore } from '../state/store.ts';
import { type AgentLink, linkAgent } from './agent-link.ts';
import { bringBackFirst, noticesOf } from './bring-back.ts';
import { endingOf, markEnded, settleIfPossible } from './ending.ts';
import { HeldVm } from './held-vm.ts';
import { statusOf } from './status.ts';

/** How a VM is stopped. */
export interface VmStopOptions extends CallOptions {
  /** end the VM without asking the guest; default false */
  force?: boolean | undefined;
  /** milliseconds that the guest gets to power off; default 10,000 */
  graceMs?: number | undefined;
  /** hears what a user should know: of files in copied folders that have changed on both sides */
  onNotice?: ((notice: string) => void) | undefined;
}

/** A way to the agent of a VM that is to be stopped. */
type LinkTo = (call: CallOptions) => Promise<AgentLink>;

/**
 * Stops a VM by its name, in whatever state it is: a paused one, or one whose agent can't be reached, is not asked but ended.
 * Folders that its guest has copies of are copied back first, unless it is forced; one whose folders can't be goes on.
 * @returns false when it had ended already
 * @throws {VmError} NOT_FOUND, STATE_INVALID, ABORTED, TIMEOUT; INVALID_STATE for a paused one with such folders; what `bringBack` throws
 */
export async function stopVm(name: string, options: VmStopOptions = {}): Promise<boolean> {
  const store = new VmStore();
  const record = await store.read(validateName(name));
  const status = statusOf(record);
  if (status !== 'running' && status !== 'paused') return false;
  const held = await HeldVm.fromRecord(store, record);
  await endVm(held, (call) => linkAgent(held.context.stateFolder, held.hypervisor.channels(), call), options);
  return true;
}

/** Asks the guest to power off, then the VMM to end, then forces both; writes down how it ended. */
export async function endVm(held: HeldVm, link: LinkTo, options: VmStopOptions): Promise<void> {
  const { force = false, graceMs = 10_000, onNotice, ...call } = options;
  const scope = callScope(`stop of ${held.name}`, call);
  try {
    await held.locate();
    const { hypervisor } = held;
    const back = force ? undefined : await bringBackFirst(held, link, 'stop', { signal: scope.signal });
    if (back !== undefined) for (const notice of noticesOf(back)) onNotice?.(notice);
    // A guest that stands still can't follow.
    if (!force && graceMs > 0 && hypervisor.state !== 'paused') await powerOff(hypervisor, link, graceMs, scope.signal);
    await hypervisor.stop({ signal: scope.signal, force });
    await recordEnd(held, 'stopped');
  } finally {
    scope.release();
  }
}

/** Writes down how a VM ended that we have ended. @param reason when the VMM has none of its own */
export async function recordEnd({ store, id, name, hypervisor }: HeldVm, reason: 'stopped' | 'killed'): Promise<void> {
  const seen = await hypervisor.wait();
  // Nobody sees how a detached VMM ends; but what we sent to a living one is known.
  const unseen = seen.code === undefined && seen.signal === undefined && reason === 'killed';
  const exit = unseen ? { ...seen, signal: 'SIGKILL' } : seen;
  await markEnded(store, { id, name }, endingOf(exit, '', reason), await hypervisor.saveState());
}

/** Writes down how a VM ended that has ended by itself; one that was removed meanwhile needs it no more. */
export async function settleHeld(held: HeldVm): Promise<void> {
  const record = await held.locateIfThere();
  if (record !== undefined) await settleIfPossible(held.store, record);
}

async function powerOff(hypervisor: Hypervisor, link: LinkTo, graceMs: number, signal: AbortSignal): Promise<void> {
  const scope = callScope('the power-off', { signal, timeoutMs: graceMs });
  const call = { signal: scope.signal };
  try {
    const { agent, close } = await link(call);
    try {
      await agent.powerOff('poweroff', call);
      await hypervisor.wait(call);
    } finally {
      await close();
    }
  } catch (error) {
    // A guest that does not follow is forced next; a caller that gave up is not overruled.
    if (signal.aborted) throw error;
  } finally {
    scope.release();
  }
}
