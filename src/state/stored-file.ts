import { readFileSync, rmSync } from 'node:fs';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { writeUnflushed } from './atomic-file.ts';
import { lock } from './lock.ts';

/** A file of a VM's state folder that several processes change, such as its list of devices; there is none while it would say nothing. */
export interface StoredFile<T extends object> {
  path: (stateFolder: string) => string;
  /** name of the lock under which it is changed */
  lock: string;
  /** what no file stands for */
  none: T;
  isNone: (value: T) => boolean;
  /** whether it is what this version writes */
  is: (value: Partial<T>) => boolean;
}

/** A list of devices, of whatever kind. */
interface DeviceFile {
  path: (stateFolder: string) => string;
  lock: string;
  none: { devices: readonly never[] };
  isNone: (value: { devices: readonly unknown[] }) => boolean;
  is: (value: { devices?: unknown }) => boolean;
}

/** A file that holds devices in their order, and nothing else. */
export function deviceFile(path: (stateFolder: string) => string, lockName: string): DeviceFile {
  return {
    path,
    lock: lockName,
    none: { devices: [] },
    isNone: ({ devices }) => devices.length === 0,
    is: ({ devices }) => Array.isArray(devices),
  };
}

/** What the last process wrote down. @throws {VmError} STATE_INVALID */
export async function readStored<T extends object>(file: StoredFile<T>, stateFolder: string): Promise<T> {
  const path = file.path(stateFolder);
  let stored: (Partial<T> & { schema?: unknown }) | null;
  try {
    const text = readFileSync(path, 'utf8');
    // So a crash of the host may leave it; what it said was of processes that are gone with that.
    if (text === '') return file.none;
    stored = JSON.parse(text) as typeof stored;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return file.none;
    throw new VmError('STATE_INVALID', `${path} cannot be read`, { path, cause: error });
  }
  if (stored?.schema === 1 && file.is(stored)) return stored as T;
  throw new VmError('STATE_INVALID', `${path} is not what this version writes`, { path });
}

/** @throws {VmError} IO */
export async function writeStored<T extends object>(file: StoredFile<T>, stateFolder: string, value: T): Promise<void> {
  const path = file.path(stateFolder);
  if (file.isNone(value)) rmSync(path, { force: true });
  else await writeUnflushed(path, `${JSON.stringify({ schema: 1, ...value }, undefined, 2)}\n`);
}

/**
 * Changes it, one process at a time.
 * @param change is given what there is, and writes down what there is from then on, once or several times
 * @throws {VmError} BUSY, STATE_INVALID, IO, and what `change` throws
 */
export async function changeStored<T extends object, R>(
  file: StoredFile<T>,
  stateFolder: string,
  call: CallOptions,
  change: (before: T, write: (value: T) => Promise<void>) => Promise<R>,
): Promise<R> {
  const held = await lock(stateFolder, file.lock, call);
  try {
    return await change(await readStored(file, stateFolder), (value) => writeStored(file, stateFolder, value));
  } finally {
    await held.release();
  }
}
