import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { completeConfig } from '../../src/config/complete.ts';
import { readHostFacts } from '../../src/config/host.ts';
import type { Hypervisor, HypervisorModule, VmContext } from '../../src/hypervisors/hypervisor.ts';
import { manage } from '../../src/hypervisors/lifecycle.ts';
import { type AgentLink, linkAgent } from '../../src/sandbox/agent-link.ts';
import { expectNext, stageNext, takeStaged } from '../../src/sandbox/spare-vm.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { VmStore } from '../../src/state/store.ts';
import type { Keeper } from '../../src/transports/process/keeper.ts';
import { defaultGuest } from '../../test/lab/guest.ts';
import { median, ratio } from '../bench/statistics.ts';

/** A VM that is started without this library, in a folder of its own. */
export interface HandMade {
  binary: string;
  context: VmContext;
  /** restored from it when given */
  snapshot: string | undefined;
}

/** Starts one to its first command's output, and ends it. @returns ms to that output, of what can't be done beforehand */
export type ByHand = (vm: HandMade) => Promise<number>;

/**
 * Measures a VMM in the lab through this library against the bare binary with the same configuration, both from this one process and by
 * turns. Prints one line of JSON. POLYVISOR_LAB_PAIRS: how many pairs (default 15).
 */
export async function benchVmm(module: HypervisorModule, name: string, byHand: ByHand): Promise<void> {
  const pairs = Number(process.env['POLYVISOR_LAB_PAIRS'] ?? 15);
  const host = await readHostFacts();
  const { path: binary = '' } = await module.probe(host);
  const config = completeConfig({ ...(await defaultGuest()), vcpus: 1 }, { fields: module.fields, host });
  const store = new VmStore();
  const scratch = await mkdtemp(path.join(tmpdir(), 'polyvisor-bench-'));
  let serial = 0;

  const ours = async (snapshot?: string, saveTo?: string): Promise<number> => {
    const vmName = `bench-${++serial}`;
    const stateFolder = store.folder(vmName);
    const began = performance.now();
    // As a VM's maker does.
    const { id, keeper, folder } = await takeStaged({ store, through: [] }, vmName);
    const { runtimeFolder } = await store.create({ id, name: vmName, hypervisor: module.type }, folder);
    keeper.moved(stateFolder);
    keeper.settle();
    const context = {
      id,
      name: vmName,
      config,
      accel: 'kvm' as const,
      hostMemoryMiB: host.memoryMiB,
      runtimeFolder,
      stateFolder,
      pruneArgv: [],
    };
    const hypervisor = manage(module, context);
    const link = await firstOutput(hypervisor, { keeper, stateFolder, snapshot }).catch(async (error: unknown) => {
      // Why it ended, if it did: nobody can look afterwards.
      const { log, console: words } = await hypervisor.lastWords();
      throw new Error(`last words of VMM and guest:\n${log}\n${words}`, { cause: error });
    });
    const took = performance.now() - began;
    expectNext({ store, through: [] });
    stageNext();
    await link.close();
    if (saveTo !== undefined) {
      await hypervisor.pause();
      await hypervisor.save(saveTo);
    }
    await hypervisor.kill();
    await hypervisor.cleanup();
    await store.remove(vmName);
    return took;
  };

  const theirs = async (snapshot?: string): Promise<number> => {
    const runtimeFolder = path.join(scratch, `hand-${++serial}`);
    await mkdir(runtimeFolder);
    const context = { id: 'abcdef012345', name: 'hand', config, runtimeFolder, hostMemoryMiB: host.memoryMiB };
    const took = await byHand({ binary, context: context as VmContext, snapshot });
    await rm(runtimeFolder, { recursive: true });
    return took;
  };

  const machine = { hypervisor: module.type, vcpus: 1, memoryMiB: config.memoryMiB } as const;
  const first = async (make: () => Promise<Vm>): Promise<number> => {
    const began = performance.now();
    await using vm = await make();
    await vm.exec(['echo', 'first'], { check: true });
    return performance.now() - began;
  };

  const snapshot = path.join(scratch, 'snapshot');
  await mkdir(snapshot);
  await ours(undefined, snapshot);
  await theirs();
  const boots: [number, number][] = [];
  const restores: [number, number][] = [];
  for (let pair = 0; pair < pairs; pair++) {
    // Whoever is second finds the caches of the first: they take turns.
    const turn = (from?: string): Promise<[number, number]> =>
      byTurns(
        pair,
        () => ours(from),
        () => theirs(from),
      );
    boots.push(await turn());
    restores.push(await turn(snapshot));
    console.error(`pair ${pair + 1}: boot ${shown(boots.at(-1))}, restore ${shown(restores.at(-1))}`);
  }
  await rm(scratch, { recursive: true });

  const clones: [number, number][] = [];
  await using template = await Vm.template({ ...machine, name: `bench-${name}` });
  await first(() => template.clone());
  for (let pair = 0; pair < pairs; pair++) {
    clones.push(
      await byTurns(
        pair,
        () => first(() => template.clone()),
        () => first(() => Vm.create(machine)),
      ),
    );
    console.error(`pair ${pair + 1}: clone and boot ${shown(clones.at(-1))}`);
  }

  const rows = {
    [`${name}BootRatio`]: { ...ratio(boots), most: 1.05 },
    [`${name}RestoreRatio`]: { ...ratio(restores), most: 1.1 },
    [`${name}RestoreToBoot`]: { ...ratio(restores.map(([one], at) => [one, boots[at]?.[0] ?? Number.NaN])), most: 0.3 },
    [`${name}CloneRatio`]: { ...ratio(clones), most: 0.3 },
    [`${name}BootMs`]: { value: median(boots.map(([one]) => one)) },
    [`${name}RestoreMs`]: { value: median(restores.map(([one]) => one)) },
    [`${name}CloneMs`]: { value: median(clones.map(([one]) => one)) },
  };
  console.log(JSON.stringify(rows));
}

/** Starts a VM, or has it go on from a snapshot, to its first command's output. */
async function firstOutput(
  hypervisor: Hypervisor,
  { keeper, stateFolder, snapshot }: { keeper: Keeper; stateFolder: string; snapshot: string | undefined },
): Promise<AgentLink> {
  await hypervisor.create({ keeper });
  if (snapshot === undefined) await hypervisor.start();
  else {
    const found = await hypervisor.restore(snapshot, { goOn: true });
    if (found === 'paused') await hypervisor.resume();
  }
  const link = await linkAgent(stateFolder, hypervisor.channels(), { timeoutMs: 120_000 });
  await link.agent.exec(['echo', 'first'], { check: true });
  return link;
}

/** Both of a pair, the one or the other first. */
async function byTurns(
  pair: number,
  one: () => Promise<number>,
  other: () => Promise<number>,
): Promise<[number, number]> {
  if (pair % 2 === 0) return [await one(), await other()];
  const second = await other();
  return [await one(), second];
}

function shown(pair: readonly number[] | undefined): string {
  return `${pair?.map(Math.round).join('/')} ms`;
}
