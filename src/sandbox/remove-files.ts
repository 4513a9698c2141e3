import { findHypervisorType } from '../config/hypervisor-type.ts';
import { releaseConfinement } from '../confinement/confinement.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import type { VmStore } from '../state/store.ts';

/**
 * Removes all that is left of a VM: what it and its confinement took of the host, then its folders. Its VMM must have ended.
 * @param vm without an id when its record can't be read
 * @throws {VmError} INVALID_NAME, IO
 */
export async function removeFiles(
  store: VmStore,
  vm: { name: string; id?: string; hypervisor?: string },
): Promise<void> {
  const stateFolder = store.folder(vm.name);
  const type = findHypervisorType(vm.hypervisor);
  if (vm.id !== undefined && type !== undefined) await (await loadDriver(type)).release?.({ id: vm.id, stateFolder });
  await releaseConfinement(stateFolder, vm.id);
  await store.remove(vm.name);
}
