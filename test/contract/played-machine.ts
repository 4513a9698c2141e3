import { completeConfig } from '../../src/config/complete.ts';
import { readHostFacts } from '../../src/config/host.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import type { Hypervisor, HypervisorModule, VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { VmStore } from '../../src/state/store.ts';

/** A VM that a test of faults has for itself. */
export interface PlayedMachine {
  hypervisor: Hypervisor;
  context: VmContext;
}

let serial = 0;

/** Makes the folders of a VM whose VMM is played; all is cleared in the end, or the leak fixture tells. */
export async function withPlayed(
  module: HypervisorModule,
  input: VmConfigInput,
  use: (machine: PlayedMachine) => Promise<void>,
): Promise<void> {
  const config = completeConfig(input, { fields: module.fields, host: await readHostFacts() });
  const store = new VmStore();
  const name = `fault-${process.pid}-${++serial}`;
  const { id, runtimeFolder } = await store.create({ name, hypervisor: module.type });
  const context: VmContext = {
    id,
    name,
    config,
    accel: 'kvm',
    hostMemoryMiB: 4096,
    runtimeFolder,
    stateFolder: store.folder(name),
    pruneArgv: [],
  };
  const hypervisor = manage(module, context);
  try {
    await use({ hypervisor, context });
  } finally {
    if (hypervisor.state === 'running' || hypervisor.state === 'paused') await hypervisor.kill();
    await hypervisor.cleanup();
    await store.remove(name);
  }
}
