import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import type { Placed } from './devices.ts';
import type { PlannedPath } from '../launch-plan.ts';
import { isNewer } from './probe-versions.ts';
import { sizeOfPart } from '../snapshot-part.ts';

/** What is beside the memory and the state of a saved VM. */
export interface SavedMachine {
  schema: 1;
  /** of this snapshot: the next one may build on it */
  snapshotId: string;
  /** of the Firecracker that saved it */
  version: string;
  devices: readonly Placed[];
  /** PCI numbers of devices that stay */
  reserved: readonly number[];
  spent?: boolean | undefined;
  memoryBytes: number;
}

/** Files of a saved VM. */
export const savedFiles: Readonly<Record<'machine' | 'memory' | 'state', (folder: string) => string>> = {
  machine: (folder) => path.join(folder, 'firecracker.json'),
  memory: (folder) => path.join(folder, 'firecracker.mem'),
  state: (folder) => path.join(folder, 'firecracker.state'),
};

/** What is opened of a snapshot. */
export function openedFiles(folder: string): PlannedPath[] {
  return [savedFiles.memory(folder), savedFiles.state(folder)].map((file) => ({ path: file, access: 'read' }));
}

export async function writeSaved(folder: string, saved: SavedMachine): Promise<void> {
  const file = savedFiles.machine(folder);
  try {
    await writeFile(file, `${JSON.stringify(saved, undefined, 2)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file });
  }
}

/** @throws {VmError} FILE_NOT_FOUND, STATE_INVALID when this is no VM that Firecracker saved through this version */
export async function readSaved(folder: string): Promise<SavedMachine> {
  const file = savedFiles.machine(folder);
  let saved: Partial<SavedMachine> | null;
  try {
    saved = JSON.parse(await readFile(file, 'utf8')) as Partial<SavedMachine> | null;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const problem = missing ? `${folder} holds no snapshot of Firecracker` : `${file} cannot be read`;
    throw new VmError(missing ? 'FILE_NOT_FOUND' : 'STATE_INVALID', problem, { path: file, cause: error });
  }
  if (!isSaved(saved)) throw new VmError('STATE_INVALID', `${file} is not what this version writes`, { path: file });
  return saved;
}

/**
 * Makes sure that a snapshot can be loaded: Firecracker itself would map a memory file that was cut short, and the guest would die of it.
 * @param version of the Firecracker that is to load it
 * @throws {VmError} FILE_NOT_FOUND, FILE_INVALID, HYPERVISOR_TOO_OLD
 */
export async function checkSaved(folder: string, saved: SavedMachine, version: string | undefined): Promise<void> {
  if (version !== undefined && isNewer(saved.version, version)) {
    throw new VmError(
      'HYPERVISOR_TOO_OLD',
      `the snapshot is Firecracker ${saved.version}'s, and this one is ${version}`,
      {
        path: folder,
        advice: `Use Firecracker ${saved.version} or a newer one.`,
      },
    );
  }
  await sizeOfPart(savedFiles.state(folder));
  const memory = savedFiles.memory(folder);
  const size = await sizeOfPart(memory);
  if (size === saved.memoryBytes) return;
  throw new VmError('FILE_INVALID', `${memory} has ${size} bytes, and the guest had ${saved.memoryBytes}`, {
    path: memory,
  });
}

function isSaved(saved: Partial<SavedMachine> | null): saved is SavedMachine {
  return (
    saved?.schema === 1 &&
    typeof saved.snapshotId === 'string' &&
    typeof saved.version === 'string' &&
    Number.isInteger(saved.memoryBytes) &&
    Array.isArray(saved.devices) &&
    Array.isArray(saved.reserved)
  );
}
