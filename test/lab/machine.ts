import { completeConfig } from '../../src/config/complete.ts';
import { readHostFacts } from '../../src/config/host.ts';
import { cliProgram } from '../../src/config/package-files.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import type { Hypervisor, HypervisorModule, VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { type AgentLink, linkAgent } from '../../src/sandbox/agent-link.ts';
import { removeFiles } from '../../src/sandbox/remove-files.ts';
import { VmStore } from '../../src/state/store.ts';
import { defaultGuest } from './guest.ts';

/** A VM of the lab, and how it is talked with. */
export interface LabMachine {
  hypervisor: Hypervisor;
  context: VmContext;
  link(): Promise<AgentLink>;
  /** connects anew, after what ended the session */
  relink(): Promise<AgentLink>;
  /** what a shell in the guest prints, without the last line's end */
  shell(script: string): Promise<string>;
  discard(): Promise<void>;
}

let serial = 0;

/** Makes a VM with the default guest; nothing is started. */
export async function labMachine(
  module: HypervisorModule,
  change: VmConfigInput = {},
  confinement: VmContext['confinement'] = 'off',
  where: Pick<VmContext, 'networkNamespace'> = {},
): Promise<LabMachine> {
  const host = await readHostFacts();
  const config = completeConfig({ ...(await defaultGuest()), ...change }, { fields: module.fields, host });
  const store = new VmStore();
  const name = `lab-${process.pid}-${++serial}`;
  const record = await store.create({ name, hypervisor: module.type });
  const context: VmContext = {
    id: record.id,
    name,
    config,
    accel: 'kvm',
    confinement,
    ...where,
    hostMemoryMiB: host.memoryMiB,
    runtimeFolder: record.runtimeFolder,
    stateFolder: store.folder(name),
    pruneArgv: [process.execPath, cliProgram, 'prune', name],
  };
  const hypervisor = manage(module, context);
  let link: AgentLink | undefined;
  const linked = async (): Promise<AgentLink> =>
    (link ??= await linkAgent(context.stateFolder, hypervisor.channels(), { timeoutMs: 120_000 }));
  return {
    hypervisor,
    context,
    link: linked,
    relink: async () => {
      await link?.close();
      link = undefined;
      return linked();
    },
    shell: async (script) => {
      const { agent } = await linked();
      return (await agent.exec(['/bin/sh', '-ec', script], { check: true, timeoutMs: 120_000 })).stdout.trimEnd();
    },
    discard: async () => {
      await link?.close();
      if (hypervisor.state === 'running' || hypervisor.state === 'paused') await hypervisor.kill();
      await hypervisor.cleanup();
      await removeFiles(store, { id: record.id, name, hypervisor: module.type });
    },
  };
}
