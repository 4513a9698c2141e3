import { completeConfig } from '../../../src/config/complete.ts';
import type { HostFacts } from '../../../src/config/host.ts';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import type { HypervisorModule, VmContext } from '../../../src/hypervisors/hypervisor.ts';

/** A host that is the same wherever the tests run. */
export const host: HostFacts = { arch: 'amd64', cpus: 8, memoryMiB: 16_000, runningOnVmm: false, uid: 1000 };

/** The context of a VM that nobody makes. */
export function contextFor(
  module: HypervisorModule,
  input: VmConfigInput = {},
  change: Partial<VmContext> = {},
): VmContext {
  const config = completeConfig(
    { kernel: '/boot/vmlinuz', initrd: '/boot/initrd.img', ...input },
    { fields: module.fields, host },
  );
  return {
    id: 'abcdef012345',
    name: 'paper',
    config,
    accel: 'tcg',
    hostMemoryMiB: host.memoryMiB,
    runtimeFolder: '/run/pv/abcdef012345',
    stateFolder: '/state/vms/paper',
    pruneArgv: ['prune'],
    ...change,
  };
}
