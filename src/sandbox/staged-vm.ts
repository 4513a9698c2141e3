import { rm } from 'node:fs/promises';
import { beginKeeper } from '../hypervisors/begin-keeper.ts';
import { newVmId, type VmStore } from '../state/store.ts';
import type { Keeper } from '../transports/process/keeper.ts';
import { pruneCommandFor } from './context.ts';

/** A VM of which nothing is decided yet: its id, and a keeper that clears up should this process be killed. */
export interface StagedVm {
  id: string;
  keeper: Keeper;
  /** its folder, in which the keeper waits; absent when there is none yet */
  folder?: string | undefined;
}

/** How the next VM is kept. */
export interface Keeping {
  store: VmStore;
  /** command through which the keeper's second part is run, as the VMM's confinement wants it */
  through: readonly string[];
}

/** For a VM whose name is known. @throws {VmError} START_FAILED, HOST_MISSING */
export async function stage({ store, through }: Keeping, name: string): Promise<StagedVm> {
  const id = newVmId();
  // Before anything is there that could be left behind.
  const keeper = await beginKeeper({ stateFolder: store.folder(name), pruneArgv: pruneCommandFor(id) }, through);
  return { id, keeper };
}

/** For one that has no name yet: in a folder of its own, where its keeper has prepared all it can. @throws {VmError} START_FAILED, HOST_MISSING, IO */
export async function stageAhead({ store, through }: Keeping): Promise<StagedVm> {
  const id = newVmId();
  const folder = store.staging(id);
  const keeper = await beginKeeper({ stateFolder: folder, pruneArgv: pruneCommandFor(id) }, through);
  const staged = { id, keeper, folder };
  try {
    await store.stage(id);
    keeper.settle();
    await keeper.prepared();
    return staged;
  } catch (error) {
    await unstage(staged);
    throw error;
  }
}

/** Ends its keeper, and removes its folder if it has one. */
export async function unstage({ keeper, folder }: StagedVm): Promise<void> {
  await keeper.end();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
}
