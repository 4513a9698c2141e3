import type { CallOptions } from '../../config/call-options.ts';
import { vmFiles } from '../../state/paths.ts';
import { changeStored, deviceFile, readStored, type StoredFile } from '../../state/stored-file.ts';
import type { Placed } from './devices.ts';

const file: StoredFile<{ devices: readonly Placed[] }> = deviceFile(
  (stateFolder) => vmFiles.devices(stateFolder),
  'devices',
);

/** The devices of a VM, as the last process wrote them down that changed them. @throws {VmError} STATE_INVALID */
export async function readPlaced(stateFolder: string): Promise<readonly Placed[]> {
  return (await readStored(file, stateFolder)).devices;
}

/**
 * Adds a device to those of a VM, one process at a time. Nothing is written down when `add` fails.
 * @param add does it, and says what came of it
 */
export async function addPlaced(
  stateFolder: string,
  call: CallOptions,
  add: (before: readonly Placed[]) => Promise<Placed>,
): Promise<Placed> {
  return changeStored(file, stateFolder, call, async ({ devices }, write) => {
    const placed = await add(devices);
    await write({ devices: [...devices, placed] });
    return placed;
  });
}
