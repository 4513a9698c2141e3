import type { CallOptions } from '../config/call-options.ts';
import { vmFiles } from '../state/paths.ts';
import { changeStored, deviceFile, readStored, type StoredFile, writeStored } from '../state/stored-file.ts';
import type { AttachedDevice } from './device-spec.ts';

const file: StoredFile<{ devices: readonly AttachedDevice[] }> = deviceFile(
  (stateFolder) => vmFiles.attached(stateFolder),
  'attached',
);

/** The devices that a VM was given, in their order. @throws {VmError} STATE_INVALID */
export async function readAttached(stateFolder: string): Promise<readonly AttachedDevice[]> {
  return (await readStored(file, stateFolder)).devices;
}

/** Those that its VMM has: all but folders of which the guest has copies. @throws {VmError} STATE_INVALID */
export async function readPlugged(stateFolder: string): Promise<readonly AttachedDevice[]> {
  return (await readAttached(stateFolder)).filter(({ copied }) => copied === undefined);
}

export async function writeAttached(stateFolder: string, devices: readonly AttachedDevice[]): Promise<void> {
  await writeStored(file, stateFolder, { devices });
}

/** Changes the list, one process at a time. It stays as it was when `change` fails. @throws {VmError} BUSY, STATE_INVALID, IO */
export async function changeAttached<T>(
  stateFolder: string,
  call: CallOptions,
  change: (before: readonly AttachedDevice[]) => Promise<{ devices: readonly AttachedDevice[]; result: T }>,
): Promise<T> {
  return changeStored(file, stateFolder, call, async (before, write) => {
    const { devices, result } = await change(before.devices);
    await write({ devices });
    return result;
  });
}
