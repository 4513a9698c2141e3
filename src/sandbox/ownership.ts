import { VmError } from '../errors.ts';
import { isAlive, ownIdentity, type ProcessIdentity } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import type { HeldVm } from './held-vm.ts';
import { noteEvent } from './life-events.ts';

/**
 * Takes a VM into this process's ownership: it ends with this process, or with the last that owns it.
 * @throws {VmError} INVALID_STATE when it does not run, NOT_FOUND, VMM_GONE, BUSY
 */
export async function adoptVm(held: HeldVm): Promise<void> {
  await held.locate();
  await held.hypervisor.own();
  const self = ownIdentity();
  const before = await held.store.update(held, (record) => ({ ...ownersWith(record, self), detached: false }));
  await noteEvent(held.store, held.moved(before), 'adopted', { pid: self.pid });
}

/**
 * Leaves a VM without an owner: it lives on by itself.
 * @throws {VmError} INVALID_STATE when this process does not own it, NOT_FOUND, VMM_GONE
 */
export async function detachVm(held: HeldVm): Promise<void> {
  const before = await held.locate();
  const { status } = before;
  // One that was not started, or has been stopped, has nothing that could end with its owner.
  if (status === 'stopped') refuseStranger(before);
  else if (status !== 'created') {
    // Said before it is done: should we be killed in between, a VM that lives on is known to be meant to.
    await held.change({ detaching: true });
    try {
      await held.hypervisor.detach();
    } catch (error) {
      await held.change({ detaching: undefined });
      throw error;
    }
  }
  const free = { detached: true, detaching: undefined, owner: undefined, heirs: undefined, keeper: undefined };
  await noteEvent(held.store, await held.change(free), 'detached', {});
  await held.unwatch();
}

/**
 * Takes a VM out of this process's ownership: it ends with the other process that owns it.
 * @throws {VmError} INVALID_STATE when no other living process owns it; NOT_FOUND
 */
export async function leaveVm(held: HeldVm): Promise<void> {
  await held.locate();
  const self = ownIdentity();
  const record = await held.store.update(held, ({ name, owner, heirs = [] }) => {
    const [first, ...others] = [owner, ...heirs].filter(
      (process): process is ProcessIdentity => process !== undefined && isAlive(process) && process.pid !== self.pid,
    );
    if (first === undefined) throw new VmError('INVALID_STATE', `no other process owns ${name}`, { name });
    return { owner: first, heirs: others };
  });
  held.moved(record);
  await held.hypervisor.leave();
}

/** No process but an owner makes a VM that has ended outlive its owners; without an owner, it does already. */
function refuseStranger({ name, detached, owner, heirs = [] }: VmRecord): void {
  if (detached || [owner, ...heirs].some((one) => one?.pid === process.pid)) return;
  throw new VmError('INVALID_STATE', `${name} belongs to process ${owner?.pid}, which has to detach it`, { name });
}

/** The living owners of a VM and one more. */
function ownersWith({ owner, heirs = [] }: VmRecord, one: ProcessIdentity): Pick<VmRecord, 'owner' | 'heirs'> {
  const living = [owner, ...heirs].filter((process) => process !== undefined && isAlive(process));
  const [first, ...others] = living.some((process) => process?.pid === one.pid) ? living : [...living, one];
  if (first === undefined) throw new VmError('INTERNAL', 'a VM that was taken over has no owner');
  return { owner: first, heirs: others.filter((process) => process !== undefined) };
}
