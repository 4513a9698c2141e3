import type { CallOptions } from '../../config/call-options.ts';
import { vmFiles } from '../../state/paths.ts';
import { changeStored, readStored, type StoredFile } from '../../state/stored-file.ts';
import type { Placed } from './devices.ts';

/** What is on the guest's buses. */
export interface PlacedDevices {
  devices: readonly Placed[];
  /** PCI numbers of devices that stay */
  reserved: readonly number[];
  /** a device was taken off the PCI bus: what is plugged there from then on would not work */
  spent?: boolean | undefined;
}

const file: StoredFile<PlacedDevices> = {
  path: (stateFolder) => vmFiles.devices(stateFolder),
  lock: 'devices',
  none: { devices: [], reserved: [] },
  isNone: ({ devices, reserved, spent }) => devices.length + reserved.length === 0 && spent !== true,
  is: ({ devices, reserved }) => Array.isArray(devices) && Array.isArray(reserved),
};

/** The devices of a VM, as the last process wrote them down that changed them. @throws {VmError} STATE_INVALID */
export async function readPlaced(stateFolder: string): Promise<PlacedDevices> {
  return told(await readStored(file, stateFolder));
}

/**
 * Changes the devices of a VM, one process at a time. They stay as they were when `change` fails.
 * @param change does it in the VMM, and says what is there after it
 */
export async function changePlaced<T>(
  stateFolder: string,
  call: CallOptions,
  change: (before: PlacedDevices) => Promise<PlacedDevices & { result: T }>,
): Promise<T> {
  return changeStored(file, stateFolder, call, async (before, write) => {
    const { devices, reserved, spent, result } = await change(told(before));
    await write({ devices, reserved, spent });
    return result;
  });
}

function told({ devices, reserved, spent }: PlacedDevices): PlacedDevices {
  return { devices, reserved, spent: spent === true };
}
