import { completeConfig } from '../../src/config/complete.ts';
import { readHostFacts } from '../../src/config/host.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { AcrnDriver, type AcrnHost } from '../../src/hypervisors/acrn/driver.ts';
import { acrn } from '../../src/hypervisors/acrn/index.ts';
import type { Hypervisor, VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { type AgentLink, linkAgent } from '../../src/sandbox/agent-link.ts';
import { VmStore } from '../../src/state/store.ts';

/** A VM of ACRN that a test has for itself. */
export interface Machine {
  hypervisor: Hypervisor;
  context: VmContext;
  agent(): Promise<AgentLink>;
  /** another object for the same VM, as another process would have it */
  again(): Hypervisor;
}

let serial = 0;

/** Makes the folders of a VM, and removes all of it afterwards. @param host where the driver looks; this host when absent */
export async function withAcrn(
  input: VmConfigInput,
  use: (machine: Machine) => Promise<void>,
  host?: AcrnHost,
): Promise<void> {
  const facts = await readHostFacts();
  const config = completeConfig(input, { fields: acrn.fields, host: facts });
  const store = new VmStore();
  const name = `acrn-${process.pid}-${++serial}`;
  const { id, runtimeFolder } = await store.create({ name, hypervisor: acrn.type });
  const context: VmContext = {
    id,
    name,
    config,
    accel: 'tcg',
    hostMemoryMiB: facts.memoryMiB,
    runtimeFolder,
    stateFolder: store.folder(name),
    pruneArgv: ['true'],
  };
  const module = { ...acrn, driver: (of: VmContext) => new AcrnDriver(of, host) };
  const hypervisor = manage(module, context);
  try {
    await use({
      hypervisor,
      context,
      agent: () => linkAgent(context.stateFolder, hypervisor.channels(), { timeoutMs: 120_000 }),
      again: () => manage(module, context),
    });
  } finally {
    if (hypervisor.state === 'running') await hypervisor.kill();
    await hypervisor.cleanup();
    await store.remove(name);
  }
}
