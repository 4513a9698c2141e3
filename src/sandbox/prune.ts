import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import { signalProcess } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import { hasKeeper } from '../transports/process/lease.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import { endForwarder } from './forwarder.ts';
import { removeFiles } from './remove-files.ts';
import { hasOwner, isAbandoned, isDetached } from './status.ts';

/** Milliseconds that the kernel gets to end a VMM after SIGKILL. */
const killMs = 30_000;

/**
 * Removes what dead processes left: VMs that were never finished, and owned ones whose owner is gone, even one whose VMM
 * runs on because its keeper was killed as well. A VM that is detached, or still has its owner or its keeper, is left alone.
 * @param name only this one; nothing happens when it isn't there
 * @param options id: only the one of this id, whatever its name has become
 * @returns the names that were removed
 */
export async function prune(name?: string, options: { id?: string | undefined } = {}): Promise<string[]> {
  const store = new VmStore();
  await store.sweep();
  const removed: string[] = [];
  for (const vm of await store.list()) {
    if (name !== undefined && vm.name !== name) continue;
    if (options.id !== undefined && vm.record?.id !== options.id) continue;
    if (vm.record === undefined) {
      if (name !== undefined) throw VmError.from(vm.broken);
      continue;
    }
    await endOrphan(vm.folder, vm.record);
    if (!isAbandoned(vm.record)) continue;
    await endForwarder(vm.record);
    await removeFiles(store, vm.record);
    removed.push(vm.name);
  }
  return removed;
}

/** Ends the VMM of an owned VM when both who would have seen to it were killed, its owner and its keeper. */
async function endOrphan(folder: string, record: VmRecord): Promise<void> {
  const { vmm } = record;
  if (vmm === undefined || isDetached(record) || hasOwner(record) || (await hasKeeper(vmFiles.lease(folder)))) return;
  if (signalProcess(vmm, 'SIGKILL')) await waitGone(vmm, { timeoutMs: killMs });
}
