import type { CallOptions } from '../../config/call-options.ts';
import { vmFiles } from '../../state/paths.ts';
import { changeStored, deviceFile, readStored, type StoredFile, writeStored } from '../../state/stored-file.ts';
import type { OwnDevice } from './devices.ts';

const file: StoredFile<{ devices: readonly OwnDevice[] }> = deviceFile(
  (stateFolder) => vmFiles.devices(stateFolder),
  'devices',
);

/** The devices of a VM, as the last process wrote them down that changed them. @throws {VmError} STATE_INVALID */
export async function readDevices(stateFolder: string): Promise<readonly OwnDevice[]> {
  return (await readStored(file, stateFolder)).devices;
}

/**
 * Changes the devices of a VM, one process at a time. They stay as they were when `change` fails.
 * @param change does it in the VMM, and says what is there after it
 */
export async function changeDevices<T>(
  stateFolder: string,
  call: CallOptions,
  change: (before: readonly OwnDevice[]) => Promise<{ devices: readonly OwnDevice[]; result: T }>,
): Promise<T> {
  return changeStored(file, stateFolder, call, async (before, write) => {
    const { devices, result } = await change(before.devices);
    await write({ devices });
    return result;
  });
}

export async function writeDevices(stateFolder: string, devices: readonly OwnDevice[]): Promise<void> {
  await writeStored(file, stateFolder, { devices });
}
