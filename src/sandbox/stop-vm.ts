import { callScope, type CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import type { Hypervisor } from '../hypervisors/hypervisor.ts';
import { manage } from '../hypervisors/lifecycle.ts';
import { VmStore } from '../state/store.ts';
import { type AgentLink, linkAgent } from './agent-link.ts';
import { recall } from './context.ts';
import { statusOf } from './status.ts';

/** How a VM is stopped. */
export interface VmStopOptions extends CallOptions {
  /** end the VM without asking the guest; default false */
  force?: boolean | undefined;
  /** milliseconds that the guest gets to power off; default 10,000 */
  graceMs?: number | undefined;
}

/** A VM that is to be stopped, and a way to its agent if there is one. */
export interface Stoppable {
  store: VmStore;
  name: string;
  hypervisor: Hypervisor;
  link(call: CallOptions): Promise<AgentLink>;
}

/**
 * Stops a VM by its name, in whatever state it is: a paused one, or one whose agent can't be reached, is not asked but ended.
 * @returns false when it had ended already
 * @throws {VmError} NOT_FOUND, STATE_INVALID, ABORTED, TIMEOUT
 */
export async function stopVm(name: string, options: VmStopOptions = {}): Promise<boolean> {
  const store = new VmStore();
  const record = await store.read(validateName(name));
  const status = statusOf(record);
  if (status !== 'running' && status !== 'paused') return false;
  const { module, context } = await recall(store, record);
  const hypervisor = manage(module, context);
  await hypervisor.loadState(record.driver);
  const link = (call: CallOptions): Promise<AgentLink> => linkAgent(context.stateFolder, hypervisor.channels(), call);
  await endVm({ store, name, hypervisor, link }, options);
  return true;
}

/** Asks the guest to power off, then the VMM to end, then forces both; writes down how it ended. */
export async function endVm(vm: Stoppable, options: VmStopOptions): Promise<void> {
  const { force = false, graceMs = 10_000, ...call } = options;
  const scope = callScope(`stop of ${vm.name}`, call);
  try {
    // A guest that stands still can't follow.
    if (!force && graceMs > 0 && vm.hypervisor.state !== 'paused') await powerOff(vm, graceMs, scope.signal);
    await vm.hypervisor.stop({ signal: scope.signal, force });
    await recordEnd(vm, 'stopped');
  } finally {
    scope.release();
  }
}

/** Writes down how a VM ended. @param reason when the VMM has none of its own */
export async function recordEnd({ store, name, hypervisor }: Omit<Stoppable, 'link'>, reason: string): Promise<void> {
  const exit = await hypervisor.wait();
  const ended = {
    at: new Date().toISOString(),
    exitCode: exit.code,
    signal: exit.signal,
    reason: exit.reason ?? reason,
  };
  await store.update(name, { status: 'stopped', ended, keeper: undefined, driver: await hypervisor.saveState() });
}

async function powerOff({ hypervisor, link }: Stoppable, graceMs: number, signal: AbortSignal): Promise<void> {
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
