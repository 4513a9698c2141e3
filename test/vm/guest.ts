import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { Vm } from '../../src/sandbox/vm.ts';

/** A small guest under real QEMU; in software, so that it is the same on every host. */
export const smallGuest: VmOptions = { hypervisor: 'qemu', accel: 'tcg', memoryMiB: 256 };

/** Uses a VM of its own and removes it, however that goes. */
export async function withGuest(options: VmOptions, use: (vm: Vm) => Promise<void>): Promise<void> {
  const vm = await Vm.create({ ...smallGuest, ...options });
  try {
    await use(vm);
  } finally {
    await vm.remove();
  }
}
