import { isAlive } from '../state/process-identity.ts';
import type { VmRecord, VmStatus } from '../state/record.ts';

/** What a VM is now: its record's claim, held against the processes that there are. */
export function statusOf(record: VmRecord): VmStatus {
  if (record.status === 'running' || record.status === 'paused') {
    return record.vmm !== undefined && isAlive(record.vmm) ? record.status : 'stopped';
  }
  // What was made for later, to live without an owner, waits for its start.
  if (record.status === 'created' && record.detached) return record.status;
  if (record.status === 'creating' || record.status === 'created' || record.status === 'starting') {
    return hasOwner(record) ? record.status : 'failed';
  }
  return record.status;
}

/** Whether a process that owns it lives. */
export function hasOwner({ owner, heirs = [] }: VmRecord): boolean {
  return [owner, ...heirs].some((process) => process !== undefined && isAlive(process));
}

/** Whether it lives without an owner. One whose owner died while it detached the VM does so if the VM did not end with it. */
export function isDetached(record: VmRecord): boolean {
  return record.detached || (record.detaching === true && !hasOwner(record));
}

/** Whether nobody will ever use this VM again: its maker died while making it, or its owner died and took it along. */
export function isAbandoned(record: VmRecord): boolean {
  if (record.detached) return false;
  const vmmAlive = record.vmm !== undefined && isAlive(record.vmm);
  return !hasOwner(record) && !vmmAlive;
}
