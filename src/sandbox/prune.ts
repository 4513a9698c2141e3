import { VmError } from '../errors.ts';
import { VmStore } from '../state/store.ts';
import { isAbandoned } from './status.ts';

/**
 * Removes what dead processes left: VMs that were never finished, and owned ones whose owner is gone. A VM that runs, is detached or
 * still has its owner is left alone.
 * @param name only this one; nothing happens when it isn't there
 * @returns the names that were removed
 */
export async function prune(name?: string): Promise<string[]> {
  const store = new VmStore();
  await store.sweep();
  const removed: string[] = [];
  for (const vm of await store.list()) {
    if (name !== undefined && vm.name !== name) continue;
    if (vm.record === undefined) {
      if (name !== undefined) throw VmError.from(vm.broken);
      continue;
    }
    if (!isAbandoned(vm.record)) continue;
    await store.remove(vm.name);
    removed.push(vm.name);
  }
  return removed;
}
