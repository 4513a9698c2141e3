import { vmFiles } from '../state/paths.ts';
import { Keeper } from '../transports/process/keeper.ts';
import type { VmContext } from './hypervisor.ts';

/**
 * Begins the keeper of a VM's VMM: the VM's folder need not be there yet.
 * @param through the command through which its second part is run, as the VMM's confinement wants it
 * @throws {VmError} START_FAILED, HOST_MISSING
 */
export async function beginKeeper(
  { stateFolder, pruneArgv }: Pick<VmContext, 'stateFolder' | 'pruneArgv'>,
  through: readonly string[],
): Promise<Keeper> {
  return Keeper.begin({
    lease: vmFiles.lease(stateFolder),
    alive: vmFiles.alive(stateFolder),
    exitFile: vmFiles.exit(stateFolder),
    startFile: vmFiles.start(stateFolder),
    stdout: vmFiles.vmmLog(stateFolder),
    stderr: vmFiles.vmmLog(stateFolder),
    prune: pruneArgv,
    keeperThrough: through,
  });
}
