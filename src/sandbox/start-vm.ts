import { rm } from 'node:fs/promises';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { lock } from '../state/lock.ts';
import { ensurePrivateFolder } from '../state/private-folder.ts';
import { ownIdentity } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import type { AgentLink } from './agent-link.ts';
import { bootUp, lifeLock } from './bring-up.ts';
import { recall } from './context.ts';
import type { Phase } from './events.ts';
import { settle } from './ending.ts';
import { startForwarder } from './forwarder.ts';
import type { HeldVm } from './held-vm.ts';
import { noteEvent } from './life-events.ts';
import { hasOwner, statusOf } from './status.ts';

/** How a VM that does not run is started. */
export interface VmStartOptions extends CallOptions {
  /** it outlives this process; default: what it was when it was made */
  detached?: boolean | undefined;
  /** milliseconds until the guest must have answered; default 60,000 with KVM, 180,000 with TCG */
  startTimeoutMs?: number | undefined;
}

const startable: readonly string[] = ['created', 'stopped', 'failed'];

/**
 * Starts a VM that was made for later, or one that has ended, with its configuration. Its disks are as they were, its memory is new.
 * One that can't be started stays, as `failed`. A VM that another living process owns is that one's to start.
 * @throws {VmError} INVALID_STATE, NOT_FOUND, BUSY while another process starts it, and what `Vm.create` throws of the start
 */
export async function startVm(
  held: HeldVm,
  options: VmStartOptions,
  report: (phase: Phase, message: string) => void,
): Promise<{ record: VmRecord; link: AgentLink }> {
  const scope = callScope(`start of ${held.name}`, options);
  const call = { signal: scope.signal };
  try {
    await held.locate();
    const busy = await lock(held.context.stateFolder, lifeLock, call);
    try {
      const before = await settle(held.store, await held.locate());
      refuse(before);
      return await start(held, before, options, report, call);
    } finally {
      await busy.release();
    }
  } finally {
    scope.release();
  }
}

async function start(
  held: HeldVm,
  before: VmRecord,
  options: VmStartOptions,
  report: (phase: Phase, message: string) => void,
  call: CallOptions,
): Promise<{ record: VmRecord; link: AgentLink }> {
  const detached = options.detached ?? before.detached;
  const hypervisor = await held.renew();
  // A VM that was detached stays so while it starts: should this process die, it is kept, with its configuration.
  const fresh = { vmm: undefined, keeper: undefined, driver: undefined, ended: undefined, heirs: undefined };
  await held.change({ ...fresh, status: 'starting', owner: ownIdentity() });
  try {
    // What the last VMM left there is not for the next one; after a reboot of the host there is nothing at all.
    await rm(before.runtimeFolder, { recursive: true, force: true });
    for (const place of held.store.places.privateFolders) await ensurePrivateFolder(place);
    await ensurePrivateFolder(before.runtimeFolder);
    const accel = before.accel === 'kvm' ? 'kvm' : 'tcg';
    const { devices } = await recall(held.store, before);
    const { link } = await bootUp(held, { accel, startTimeoutMs: options.startTimeoutMs, devices }, report, call);
    try {
      if (before.publish !== undefined) await startForwarder(held, before.publish);
      if (detached) {
        // As in `detachVm`: a VM that lives on after us is known to be meant to.
        await held.change({ detaching: true });
        await hypervisor.detach();
      }
      const kept = detached ? { detached, detaching: undefined, owner: undefined } : { detached };
      return { record: await held.change(kept), link };
    } catch (error) {
      await link.close();
      throw error;
    }
  } catch (error) {
    const reason = VmError.from(error).with({ name: held.name });
    if (hypervisor.state === 'running' || hypervisor.state === 'paused') await hypervisor.kill();
    await hypervisor.cleanup();
    const ended = { at: new Date().toISOString(), reason: `start failed: ${reason.message.slice(0, 500)}` };
    const record = await held.change({ status: 'failed', ended, detaching: undefined, owner: before.owner });
    await noteEvent(held.store, record, 'ended', { reason: ended.reason }, ended.at);
    throw reason;
  }
}

function refuse(record: VmRecord): void {
  const { name, owner } = record;
  const status = statusOf(record);
  if (!startable.includes(status)) {
    throw new VmError('INVALID_STATE', `${name} is ${status}; a VM is started when it is ${startable.join(', ')}`, {
      name,
    });
  }
  if (record.detached || !hasOwner(record) || owner?.pid === process.pid) return;
  throw new VmError('INVALID_STATE', `${name} belongs to process ${owner?.pid}, which has to start it`, {
    name,
    advice: 'Have that process detach it, or make a VM of your own.',
  });
}
