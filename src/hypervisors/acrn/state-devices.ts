import { readFile } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { lock } from '../../state/lock.ts';
import { vmFiles } from '../../state/paths.ts';
import type { Placed } from './devices.ts';

/** The devices of a VM, as the last process wrote them down that changed them. @throws {VmError} STATE_INVALID */
export async function readPlaced(stateFolder: string): Promise<readonly Placed[]> {
  const path = vmFiles.devices(stateFolder);
  let stored: { schema?: unknown; devices?: unknown } | null;
  try {
    stored = JSON.parse(await readFile(path, 'utf8')) as typeof stored;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new VmError('STATE_INVALID', `${path} cannot be read`, { path, cause: error });
  }
  if (stored?.schema === 1 && Array.isArray(stored.devices)) return stored.devices as Placed[];
  throw new VmError('STATE_INVALID', `${path} is not what this version writes`, { path });
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
  const held = await lock(stateFolder, 'devices', call);
  try {
    const before = await readPlaced(stateFolder);
    const placed = await add(before);
    const stored = { schema: 1, devices: [...before, placed] };
    await writeAtomically(vmFiles.devices(stateFolder), `${JSON.stringify(stored, undefined, 2)}\n`);
    return placed;
  } finally {
    await held.release();
  }
}
