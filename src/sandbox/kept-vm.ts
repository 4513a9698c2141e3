import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { BaseFactory, FactoryVmStatus, Keeping } from '../factory/factory.ts';
import { isAlive } from '../state/process-identity.ts';
import type { AgentLink } from './agent-link.ts';
import { makeItsOwn } from './boot.ts';
import { bringDown, tearDown, wakeUp } from './bring-up.ts';
import type { HeldVm } from './held-vm.ts';
import { noteEvent } from './life-events.ts';
import type { OpenedVm } from './opened-vm.ts';
import { pauseVm } from './pause-vm.ts';
import { warmUp } from './warm-up.ts';

/** Most VMs that a cache keeps. */
export const maxCache: number = 256;

/** A VM that stands still, with a session with its agent. */
export interface KeptVm extends OpenedVm {
  link: AgentLink;
}

/** A VM that a factory has made, before and after it is kept. */
interface Fresh {
  kind: 'direct' | 'template';
  /** makes one that runs */
  open(call: CallOptions): Promise<OpenedVm>;
}

/** Boots or clones VMs and lets them stand still, after a first command: the next one finds everything that a command needs in place. */
export function pausingFactory({ kind, open }: Fresh): BaseFactory<KeptVm> {
  return {
    kind,
    vmStatus: () => [],
    getBaseVm: async (call) => {
      const opened = await open(call);
      try {
        const { held, link } = opened;
        if (link === undefined) throw new VmError('INTERNAL', `${held.name} was made without a session`);
        await warmUp(link.agent, call);
        await pauseVm(held, call);
        return { ...opened, link };
      } catch (error) {
        await opened.link?.close();
        await tearDown(opened.held);
        throw error;
      }
    },
    closeFactory: async () => undefined,
  };
}

/** What a cache does with VMs that stand still. */
export const keeping: Keeping<KeptVm> = {
  status: ({ held }): FactoryVmStatus => {
    const { vcpus, memoryMiB } = held.context.config;
    return { pid: held.hypervisor.process()?.pid ?? 0, vcpus, memoryMiB };
  },
  isAlive: ({ held }): boolean => {
    const vmm = held.hypervisor.process();
    return vmm !== undefined && isAlive(vmm);
  },
  remove: bringDown,
};

/**
 * Lets a kept VM go on, under a name of its own; before anyone can read that it runs it has fresh entropy, the time and its names.
 * @throws {VmError} NAME_IN_USE, INVALID_NAME, VMM_GONE, AGENT_GONE, TIMEOUT, ABORTED
 */
export async function wakeKept(
  { held, link }: KeptVm,
  { name, clone }: { name: string; clone: boolean },
  call: CallOptions,
): Promise<void> {
  const { name: from } = await held.locate();
  await noteEvent(held.store, held.moved(await held.store.rename(held, name, call)), 'renamed', { from });
  await held.hypervisor.resume(call);
  await makeItsOwn(link.agent, { name, machineFrom: clone ? held.id : undefined }, call);
  await noteEvent(held.store, await held.change({ status: 'running' }), 'resumed', {});
}

/** The same for a VM that another process has made, and to which this one has no session yet. @throws {VmError} as `wakeKept` does */
export async function wakeTaken(held: HeldVm, name: string, call: CallOptions): Promise<AgentLink> {
  const { name: from } = await held.locate();
  await noteEvent(held.store, held.moved(await held.store.rename(held, name, call)), 'renamed', { from });
  return (await wakeUp(held, { accel: held.context.accel }, call)).link;
}
