import { type HypervisorType, hypervisorTypes } from '../config/hypervisor-type.ts';
import { VmError } from '../errors.ts';
import type { HypervisorModule } from './hypervisor.ts';

/** The drivers that there are: the only place that names a VMM's folder. Each is loaded when it is first asked for. */
const drivers: { readonly [type in HypervisorType]?: () => Promise<HypervisorModule> } = {
  qemu: async () => (await import('./qemu/index.ts')).qemu,
  firecracker: async () => (await import('./firecracker/index.ts')).firecracker,
  clh: async () => (await import('./cloud-hypervisor/index.ts')).cloudHypervisor,
  acrn: async () => (await import('./acrn/index.ts')).acrn,
  mock: async () => (await import('./mock/index.ts')).mock,
};

/** Those that were asked for: `import` takes its time for a module that is there, too. */
const loaded = new Map<HypervisorType, Promise<HypervisorModule>>();

/** Why a known type has no driver. */
const noDriver = 'this version of polyvisor has no driver for it yet';

/**
 * The driver of a hypervisor type.
 * @throws {VmError} UNSUPPORTED when this version has none
 */
export async function loadDriver(type: HypervisorType): Promise<HypervisorModule> {
  const load = drivers[type];
  if (load === undefined) {
    throw new VmError('UNSUPPORTED', `${type}: ${noDriver}`, {
      hypervisor: type,
      advice: `Use one of: ${driverTypes().join(', ')}.`,
    });
  }
  const module = loaded.get(type) ?? load();
  loaded.set(type, module);
  return module;
}

/** The types that have a driver. */
export function driverTypes(): HypervisorType[] {
  return hypervisorTypes.filter((type) => drivers[type] !== undefined);
}
