import { existsSync } from 'node:fs';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { VmmProcess } from '../vmm-process.ts';
import { pathsOf } from './devices.ts';
import type { Placed } from './devices-place.ts';

type Shows = Pick<VmmProcess, 'alive' | 'reveal' | 'conceal' | 'allowFileSize' | 'allowLockedMemory'>;

/**
 * Lets a confined QEMU see what a device opens while it is plugged, and as long as it stays plugged.
 * @param plug is given the moment from which QEMU sees it: until then there is time to reach its monitor
 * @throws {VmError} what `plug` throws, and what showing it throws; then QEMU sees what it saw before
 */
export async function withPaths(
  vmm: Shows,
  placed: Placed,
  config: HypervisorConfig,
  call: CallOptions,
  plug: (seen: Promise<void>) => Promise<void>,
): Promise<void> {
  const { device, sizeBytes = 0 } = placed;
  const shown: string[] = [];
  const show = async (): Promise<void> => {
    for (const { path, access, optional } of pathsOf(placed, config)) {
      if (optional === true && !existsSync(path)) continue;
      await vmm.reveal(path, { readOnly: access === 'read', ...call });
      shown.push(path);
    }
    // It writes into the guest's memory, all of which must stay where it is.
    if (device.kind === 'vfio') await vmm.allowLockedMemory(call);
    if (sizeBytes > 0 && !isOnlyRead(device)) await vmm.allowFileSize(sizeBytes, call);
  };
  // A moment later: until the tool that shows it runs this process stands still, and QEMU can be greeting us by then.
  const seen = new Promise((resolve) => setImmediate(resolve)).then(show);
  seen.catch(() => undefined);
  try {
    await plug(seen);
  } catch (error) {
    await seen.catch(() => undefined);
    for (const path of shown) {
      await vmm.conceal(path).catch((left: unknown) => {
        // From a VMM that has ended, or is about to, nothing can be taken away any more.
        if (vmm.alive() && VmError.from(error).code !== 'VMM_GONE') throw left;
      });
    }
    throw error;
  }
}

function isOnlyRead(device: Placed['device']): boolean {
  return device.kind === 'block' && device.readOnly;
}

/** Takes away what a device that is gone had open; what another one was shown too stays. @throws {VmError} IO */
export async function concealPaths(vmm: Shows, placed: Placed, config: HypervisorConfig): Promise<void> {
  for (const { path } of pathsOf(placed, config)) if (vmm.alive()) await vmm.conceal(path);
}
