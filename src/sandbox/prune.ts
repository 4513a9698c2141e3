import { VmError } from '../errors.ts';
import { vmFiles } from '../state/paths.ts';
import { isAlive, signalProcess } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import { hasKeeper } from '../transports/process/lease.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import { endForwarder } from './forwarder.ts';
import { removeFiles } from './remove-files.ts';
import { hasOwner, isAbandoned, isDetached } from './status.ts';

/** Milliseconds that the kernel gets to end a VMM after SIGKILL. */
const killMs = 30_000;

/** Which VMs are looked at; all, when neither is given. */
export interface PruneSelection {
  name?: string | undefined;
  /** the VM of this id, whatever its name has become */
  id?: string | undefined;
}

/** What was removed, and what could not be: one VM that can't be removed keeps no other one. */
export interface Pruned {
  /** names */
  removed: string[];
  /** why the others were not removed; each names its VM */
  failures: VmError[];
}

/**
 * Removes what dead processes left: VMs that were never finished, and owned ones whose owner is gone, even one whose VMM
 * runs on because its keeper was killed as well. A VM that is detached, or still has its owner or its keeper, is left alone.
 * @param name only this one; nothing happens when it isn't there
 * @param options id: only the one of this id, whatever its name has become
 * @returns the names that were removed
 * @throws {VmError} STATE_INVALID when the one that was named can't be read; IO, TIMEOUT when one could not be removed
 * @throws {AggregateError} of VmErrors when several could not be; all others were removed
 */
export async function prune(name?: string, options: { id?: string | undefined } = {}): Promise<string[]> {
  const { removed, failures } = await pruneEach({ name, id: options.id });
  throwFailures(failures);
  return removed;
}

/** As `prune`, but tells failures beside what it did. @throws {VmError} STATE_INVALID, IO when it can't begin */
export async function pruneEach(only: PruneSelection = {}): Promise<Pruned> {
  const store = new VmStore();
  await store.sweep();
  const removed: string[] = [];
  const failures: VmError[] = [];
  for (const record of await findAbandoned(only)) {
    try {
      await endOrphan(record);
      if (!isAbandoned(record)) continue;
      await endForwarder(record);
      await removeFiles(store, record);
      removed.push(record.name);
    } catch (error) {
      failures.push(VmError.from(error).with({ name: record.name }));
    }
  }
  return { removed, failures };
}

/** The VMs that `prune` would remove. Changes nothing. @throws {VmError} STATE_INVALID when the one that was named can't be read; IO */
export async function findAbandoned({ name, id }: PruneSelection = {}): Promise<VmRecord[]> {
  const found: VmRecord[] = [];
  for (const vm of await new VmStore().list()) {
    if (name !== undefined && vm.name !== name) continue;
    if (id !== undefined && vm.record?.id !== id) continue;
    if (vm.record === undefined) {
      if (name !== undefined) throw VmError.from(vm.broken);
      continue;
    }
    if (isAbandoned(vm.record) || (await isOrphan(vm.folder, vm.record))) found.push(vm.record);
  }
  return found;
}

/** Throws what there is: one error as it is, several together. */
export function throwFailures(failures: readonly VmError[]): void {
  const [first] = failures;
  if (failures.length > 1) throw new AggregateError(failures, failures.map(({ message }) => message).join('\n'));
  if (first !== undefined) throw first;
}

/** Whether an owned VM runs on although both who would have ended it were killed, its owner and its keeper. */
async function isOrphan(folder: string, record: VmRecord): Promise<boolean> {
  const { vmm } = record;
  if (vmm === undefined || !isAlive(vmm) || isDetached(record) || hasOwner(record)) return false;
  return !(await hasKeeper(vmFiles.lease(folder)));
}

async function endOrphan({ vmm }: VmRecord): Promise<void> {
  if (vmm !== undefined && signalProcess(vmm, 'SIGKILL')) await waitGone(vmm, { timeoutMs: killMs });
}
