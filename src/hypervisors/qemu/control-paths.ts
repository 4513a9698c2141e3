import type { CallOptions } from '../../config/call-options.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { concealAll, withShown } from '../shown-paths.ts';
import type { VmmProcess } from '../vmm-process.ts';
import { pathsOf } from './devices.ts';
import type { Placed } from './devices-place.ts';

/**
 * Lets a confined QEMU see what a device opens while it is plugged, and as long as it stays plugged.
 * @param plug is given the moment from which QEMU sees it: until then there is time to reach its monitor
 * @throws {VmError} what `plug` throws, and what showing it throws; then QEMU sees what it saw before
 */
export async function withPaths(
  vmm: VmmProcess,
  placed: Placed,
  config: HypervisorConfig,
  call: CallOptions,
  plug: (seen: Promise<void>) => Promise<void>,
): Promise<void> {
  const { device, sizeBytes = 0 } = placed;
  const shown = {
    paths: pathsOf(placed, config),
    locksMemory: device.kind === 'vfio',
    fileBytes: isOnlyRead(device) ? 0 : sizeBytes,
  };
  return withShown(vmm, shown, call, plug);
}

function isOnlyRead(device: Placed['device']): boolean {
  return device.kind === 'block' && device.readOnly;
}

/** Takes away what a device that is gone had open; what another one was shown too stays. @throws {VmError} IO */
export async function concealPaths(vmm: VmmProcess, placed: Placed, config: HypervisorConfig): Promise<void> {
  await concealAll(vmm, pathsOf(placed, config));
}
