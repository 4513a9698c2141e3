import { readFile, rm } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { writeAtomically } from '../state/atomic-file.ts';
import { lock } from '../state/lock.ts';
import { vmFiles } from '../state/paths.ts';
import type { AttachedDevice } from './device-spec.ts';

interface StoredAttached {
  schema: 1;
  devices: readonly AttachedDevice[];
}

/** The devices that a VM was given, in their order. @throws {VmError} STATE_INVALID */
export async function readAttached(stateFolder: string): Promise<readonly AttachedDevice[]> {
  const path = vmFiles.attached(stateFolder);
  let stored: Partial<StoredAttached> | null;
  try {
    stored = JSON.parse(await readFile(path, 'utf8')) as Partial<StoredAttached> | null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new VmError('STATE_INVALID', `${path} cannot be read`, { path, cause: error });
  }
  if (stored?.schema === 1 && Array.isArray(stored.devices)) return stored.devices;
  throw new VmError('STATE_INVALID', `${path} is not what this version writes`, { path });
}

export async function writeAttached(stateFolder: string, devices: readonly AttachedDevice[]): Promise<void> {
  if (devices.length === 0) return rm(vmFiles.attached(stateFolder), { force: true });
  const stored: StoredAttached = { schema: 1, devices };
  await writeAtomically(vmFiles.attached(stateFolder), `${JSON.stringify(stored, undefined, 2)}\n`);
}

/** Changes the list, one process at a time. It stays as it was when `change` fails. @throws {VmError} BUSY, STATE_INVALID, IO */
export async function changeAttached<T>(
  stateFolder: string,
  call: CallOptions,
  change: (before: readonly AttachedDevice[]) => Promise<{ devices: readonly AttachedDevice[]; result: T }>,
): Promise<T> {
  const held = await lock(stateFolder, 'attached', call);
  try {
    const { devices, result } = await change(await readAttached(stateFolder));
    await writeAttached(stateFolder, devices);
    return result;
  } finally {
    await held.release();
  }
}
