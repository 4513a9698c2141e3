import { readFile, rm } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { lock } from '../../state/lock.ts';
import { vmFiles } from '../../state/paths.ts';
import type { Placed } from './devices.ts';

/** What is on the guest's buses. */
export interface PlacedDevices {
  devices: readonly Placed[];
  /** PCI numbers of devices that stay */
  reserved: readonly number[];
  /** a device was taken off the PCI bus: what is plugged there from then on would not work */
  spent?: boolean | undefined;
}

interface StoredDevices extends PlacedDevices {
  schema: 1;
}

/** The devices of a VM, as the last process wrote them down that changed them. @throws {VmError} STATE_INVALID */
export async function readPlaced(stateFolder: string): Promise<PlacedDevices> {
  const path = vmFiles.devices(stateFolder);
  let stored: Partial<StoredDevices> | null;
  try {
    stored = JSON.parse(await readFile(path, 'utf8')) as Partial<StoredDevices> | null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { devices: [], reserved: [] };
    throw new VmError('STATE_INVALID', `${path} cannot be read`, { path, cause: error });
  }
  const { schema, devices, reserved, spent } = stored ?? {};
  if (schema === 1 && Array.isArray(devices) && Array.isArray(reserved))
    return { devices, reserved, spent: spent === true };
  throw new VmError('STATE_INVALID', `${path} is not what this version writes`, { path });
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
  const held = await lock(stateFolder, 'devices', call);
  try {
    const { devices, reserved, spent, result } = await change(await readPlaced(stateFolder));
    const stored: StoredDevices = { schema: 1, devices, reserved, spent };
    const path = vmFiles.devices(stateFolder);
    if (devices.length + reserved.length > 0 || spent === true)
      await writeAtomically(path, `${JSON.stringify(stored, undefined, 2)}\n`);
    else await rm(path, { force: true });
    return result;
  } finally {
    await held.release();
  }
}
