import { readFile, rm } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { lock } from '../../state/lock.ts';
import { vmFiles } from '../../state/paths.ts';
import type { Placed } from './devices-place.ts';

interface StoredDevices {
  schema: 1;
  devices: readonly Placed[];
}

/**
 * The devices that were added to a VM and where they are, as the last process wrote them down that changed them.
 * @throws {VmError} STATE_INVALID
 */
export async function readDevices(stateFolder: string): Promise<readonly Placed[]> {
  const path = vmFiles.devices(stateFolder);
  let stored: Partial<StoredDevices> | null;
  try {
    stored = JSON.parse(await readFile(path, 'utf8')) as Partial<StoredDevices> | null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new VmError('STATE_INVALID', `${path} cannot be read`, { path, cause: error });
  }
  if (stored?.schema === 1 && Array.isArray(stored.devices)) return stored.devices;
  throw new VmError('STATE_INVALID', `${path} is not what this version writes`, { path });
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
  const held = await lock(stateFolder, 'devices', call);
  try {
    return await change(await readDevices(stateFolder), (devices) => writeDevices(stateFolder, devices));
  } finally {
    await held.release();
  }
}

export async function writeDevices(stateFolder: string, devices: readonly Placed[]): Promise<void> {
  if (devices.length === 0) return rm(vmFiles.devices(stateFolder), { force: true });
  const stored: StoredDevices = { schema: 1, devices };
  await writeAtomically(vmFiles.devices(stateFolder), `${JSON.stringify(stored, undefined, 2)}\n`);
}
