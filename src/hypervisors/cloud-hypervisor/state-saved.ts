import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import type { OwnDevice } from './devices.ts';
import { sizeOfPart } from '../snapshot-part.ts';

/** What is beside Cloud Hypervisor's own files of a saved VM. */
export interface SavedMachine {
  schema: 1;
  /** of the Cloud Hypervisor that saved it */
  version: string;
  devices: readonly OwnDevice[];
  memoryBytes: number;
  /** names of files in the same folder, or absolute: memory that VMs share which go on from here, and the state */
  apart?: { memory: string; state: string } | undefined;
  /** name of a file in the same folder, if there is one: the state, for a guest whose memory is mapped from its file */
  mapped?: string | undefined;
}

/** Cloud Hypervisor's own names of a snapshot's files (docs/snapshot_restore.md). */
export const savedParts = ['config.json', 'state.json', 'memory-ranges'] as const;

/** One of these files. */
export type SavedPart = (typeof savedParts)[number];

const machineName = 'cloud-hypervisor.json';

export async function writeSaved(folder: string, saved: SavedMachine): Promise<void> {
  const file = path.join(folder, machineName);
  try {
    await writeFile(file, `${JSON.stringify(saved, undefined, 2)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file });
  }
}

/**
 * What was saved, with all its files there: Cloud Hypervisor itself would find out half-way.
 * @throws {VmError} FILE_NOT_FOUND, FILE_INVALID, STATE_INVALID when this is no VM that Cloud Hypervisor saved through this version
 */
export async function readSaved(folder: string): Promise<SavedMachine> {
  const file = path.join(folder, machineName);
  let saved: Partial<SavedMachine> | null;
  try {
    saved = JSON.parse(await readFile(file, 'utf8')) as Partial<SavedMachine> | null;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const problem = missing ? `${folder} holds no snapshot of Cloud Hypervisor` : `${file} cannot be read`;
    throw new VmError(missing ? 'FILE_NOT_FOUND' : 'STATE_INVALID', problem, { path: file, cause: error });
  }
  if (!isSaved(saved)) throw new VmError('STATE_INVALID', `${file} is not what this version writes`, { path: file });
  for (const [part, place] of Object.entries(savedFiles(folder, saved)))
    await requireSize(place, part, saved.memoryBytes);
  if (saved.mapped !== undefined) await requireSize(path.join(folder, saved.mapped), saved.mapped, saved.memoryBytes);
  return saved;
}

/** Where the parts of a saved VM are, by Cloud Hypervisor's own names. */
export function savedFiles(folder: string, { apart }: Pick<SavedMachine, 'apart'>): Record<SavedPart, string> {
  return {
    'config.json': path.join(folder, 'config.json'),
    'state.json': path.resolve(folder, apart?.state ?? 'state.json'),
    'memory-ranges': path.resolve(folder, apart?.memory ?? 'memory-ranges'),
  };
}

/** Bytes of the memory's file. @throws {VmError} FILE_NOT_FOUND */
export async function memoryBytesIn(folder: string): Promise<number> {
  return sizeOfPart(path.join(folder, 'memory-ranges'));
}

async function requireSize(file: string, part: string, memoryBytes: number): Promise<void> {
  const size = await sizeOfPart(file);
  if (size > 0 && (part !== 'memory-ranges' || size === memoryBytes)) return;
  const problem = size === 0 ? 'is empty' : `has ${size} bytes, and the guest had ${memoryBytes}`;
  throw new VmError('FILE_INVALID', `${file} ${problem}`, { path: file });
}

function isSaved(saved: Partial<SavedMachine> | null): saved is SavedMachine {
  return (
    saved?.schema === 1 &&
    typeof saved.version === 'string' &&
    Number.isInteger(saved.memoryBytes) &&
    Array.isArray(saved.devices) &&
    (saved.apart === undefined || (isName(saved.apart?.memory) && isName(saved.apart.state))) &&
    (saved.mapped === undefined || (isName(saved.mapped) && path.basename(saved.mapped) === saved.mapped))
  );
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}
