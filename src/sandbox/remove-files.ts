import { releaseConfinement } from '../confinement/confinement.ts';
import type { VmStore } from '../state/store.ts';

/**
 * Removes all that is left of a VM: what its confinement took of the host, then its folders. Its VMM must have ended.
 * @param vm without an id when its record can't be read
 * @throws {VmError} INVALID_NAME, IO
 */
export async function removeFiles(store: VmStore, vm: { name: string; id?: string }): Promise<void> {
  await releaseConfinement(store.folder(vm.name), vm.id);
  await store.remove(vm.name);
}
