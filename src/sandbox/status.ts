import { isAlive } from '../state/process-identity.ts';
import type { VmRecord, VmStatus } from '../state/record.ts';

/** What a VM is now: its record's claim, held against the processes that there are. */
export function statusOf(record: VmRecord): VmStatus {
  if (record.status === 'running' || record.status === 'paused') {
    return record.vmm !== undefined && isAlive(record.vmm) ? record.status : 'stopped';
  }
  if (record.status === 'creating' || record.status === 'created') {
    return record.owner !== undefined && isAlive(record.owner) ? record.status : 'failed';
  }
  return record.status;
}

/** Whether nobody will ever use this VM again: its maker died while making it, or its owner died and took it along. */
export function isAbandoned(record: VmRecord): boolean {
  if (record.detached) return false;
  const ownerAlive = record.owner !== undefined && isAlive(record.owner);
  const vmmAlive = record.vmm !== undefined && isAlive(record.vmm);
  return !ownerAlive && !vmmAlive;
}
