import { existsSync } from 'node:fs';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { PlannedPath } from './launch-plan.ts';
import type { VmmProcess } from './vmm-process.ts';

type Shows = Pick<VmmProcess, 'alive' | 'reveal' | 'conceal' | 'allowFileSize' | 'allowLockedMemory'>;

/** What a device that is plugged into a running, confined VMM needs of it. */
export interface ShownDevice {
  /** what it opens */
  paths: readonly PlannedPath[];
  /** the device writes into the guest's memory by itself, all of which must stay where it is */
  locksMemory?: boolean | undefined;
  /** bytes of the largest file that the VMM may then write */
  fileBytes?: number | undefined;
}

/**
 * Lets a confined VMM see what a device opens while it is plugged, and as long as it stays plugged.
 * @param plug is given the moment from which the VMM sees it: until then there is time to reach its monitor
 * @throws {VmError} what `plug` throws, and what showing it throws; then the VMM sees what it saw before
 */
export async function withShown<T>(
  vmm: Shows,
  { paths, locksMemory = false, fileBytes = 0 }: ShownDevice,
  call: CallOptions,
  plug: (seen: Promise<void>) => Promise<T>,
): Promise<T> {
  const shown: PlannedPath[] = [];
  const show = async (): Promise<void> => {
    for (const one of paths) {
      if (one.optional === true && !existsSync(one.path)) continue;
      await vmm.reveal(one.path, { readOnly: one.access === 'read', ...call });
      shown.push(one);
    }
    if (locksMemory) await vmm.allowLockedMemory(call);
    if (fileBytes > 0) await vmm.allowFileSize(fileBytes, call);
  };
  // A moment later: until the tool that shows it runs this process stands still, and a monitor can be greeting us by then.
  const seen = new Promise((resolve) => setImmediate(resolve)).then(show);
  seen.catch(() => undefined);
  try {
    return await plug(seen);
  } catch (error) {
    await seen.catch(() => undefined);
    for (const { path } of shown) {
      await vmm.conceal(path).catch((left: unknown) => {
        // From a VMM that has ended, or is about to, nothing can be taken away any more.
        if (vmm.alive() && VmError.from(error).code !== 'VMM_GONE') throw left;
      });
    }
    throw error;
  }
}

/** Takes away what a device that is gone had open; what another one was shown too stays. @throws {VmError} IO */
export async function concealAll(
  vmm: Pick<VmmProcess, 'alive' | 'conceal'>,
  paths: readonly PlannedPath[],
): Promise<void> {
  for (const { path } of paths) if (vmm.alive()) await vmm.conceal(path);
}
