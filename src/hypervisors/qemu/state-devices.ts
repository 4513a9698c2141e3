import type { CallOptions } from '../../config/call-options.ts';
import { vmFiles } from '../../state/paths.ts';
import { changeStored, deviceFile, readStored, type StoredFile, writeStored } from '../../state/stored-file.ts';
import type { Placed } from './devices-place.ts';

const file: StoredFile<{ devices: readonly Placed[] }> = deviceFile(
  (stateFolder) => vmFiles.devices(stateFolder),
  'devices',
);

/**
 * The devices that were added to a VM and where they are, as the last process wrote them down that changed them.
 * @throws {VmError} STATE_INVALID
 */
export async function readDevices(stateFolder: string): Promise<readonly Placed[]> {
  return (await readStored(file, stateFolder)).devices;
}

/**
 * Changes the devices of a VM, one process at a time.
 * @param change is given what there is, and writes down what there is each time that QEMU has another
 */
export async function changeDevices<T>(
  stateFolder: string,
  call: CallOptions,
  change: (before: readonly Placed[], write: (devices: readonly Placed[]) => Promise<void>) => Promise<T>,
): Promise<T> {
  return changeStored(file, stateFolder, call, (before, write) =>
    change(before.devices, (devices) => write({ devices })),
  );
}

export async function writeDevices(stateFolder: string, devices: readonly Placed[]): Promise<void> {
  await writeStored(file, stateFolder, { devices });
}
