import { mkdir, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../errors.ts';

/** Where a template's memory is: in a file system that is itself memory, or on a disk, in the host's page cache while it is used. */
export const memoryPlaces = ['auto', 'tmpfs', 'disk'] as const;
/** One of these places; `auto` is tmpfs where that has room, else the disk. */
export type MemoryPlace = (typeof memoryPlaces)[number];

/** `f_type` of tmpfs (statfs(2)). */
const tmpfsMagic = 0x01021994;
const mib = 2 ** 20;
/** Room that a file system keeps beside the guest's memory: device state is well below a megabyte, and others write, too. */
const marginMiB = 64;

/** @throws {VmError} INVALID_ARGUMENT */
export function parseMemoryPlace(value: unknown): MemoryPlace {
  const found = memoryPlaces.find((place) => place === value);
  if (found !== undefined) return found;
  throw new VmError('INVALID_ARGUMENT', `memory must be one of ${memoryPlaces.join(', ')}`, { field: 'memory' });
}

/** A folder for the files of a saved VM that several others go on from. */
export interface MemoryFolder {
  path: string;
  kind: 'tmpfs' | 'disk';
}

/**
 * Makes a folder that is ours alone, with room for a guest's memory: in tmpfs if one has that much (`auto` takes the disk otherwise).
 * @param id 12 hexadecimal digits, that the folder's name in tmpfs contains
 * @param onDisk the folder to make on the disk
 * @throws {VmError} IO with errno ENOSPC when there is no room, and how much there is; IO
 */
export async function makeMemoryFolder(
  id: string,
  { wanted, memoryMiB, onDisk }: { wanted: MemoryPlace; memoryMiB: number; onDisk: string },
): Promise<MemoryFolder> {
  const neededMiB = memoryMiB + marginMiB;
  const tmpfs = wanted === 'disk' ? [] : await findTmpfs();
  const roomy = tmpfs.find(({ freeMiB }) => freeMiB >= neededMiB);
  if (roomy !== undefined) return { kind: 'tmpfs', path: await make(path.join(roomy.path, folderName(id))) };
  if (wanted === 'tmpfs') throw noRoom(neededMiB, tmpfs);
  const freeMiB = await roomIn(path.dirname(onDisk));
  if (freeMiB < neededMiB) throw noRoom(neededMiB, [...tmpfs, { path: path.dirname(onDisk), freeMiB }]);
  return { kind: 'disk', path: await make(onDisk) };
}

/** Removes what such a folder of this id was in any tmpfs; one on the disk goes with the folder around it. */
export async function removeFromTmpfs(id: string): Promise<void> {
  for (const place of tmpfsFolders()) await rm(path.join(place, folderName(id)), { recursive: true, force: true });
}

/** Whether a path is one that {@link makeMemoryFolder} gives to this id in tmpfs. */
export function isInTmpfs(folder: string, id: string): boolean {
  return tmpfsFolders().some((place) => path.join(place, folderName(id)) === folder);
}

function folderName(id: string): string {
  return `polyvisor-${process.geteuid?.() ?? 0}-${id}`;
}

function tmpfsFolders(): string[] {
  const own = process.env['XDG_RUNTIME_DIR'];
  return ['/dev/shm', ...(own !== undefined && path.isAbsolute(own) ? [own] : [])];
}

interface Room {
  path: string;
  freeMiB: number;
}

async function findTmpfs(): Promise<Room[]> {
  const found = await Promise.all(
    tmpfsFolders().map(async (folder) => {
      const stat = await statfs(folder).catch(() => undefined);
      if (stat?.type !== tmpfsMagic) return [];
      return [{ path: folder, freeMiB: Math.floor((stat.bavail * stat.bsize) / mib) }];
    }),
  );
  return found.flat();
}

async function roomIn(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return Math.floor((bavail * bsize) / mib);
  } catch (error) {
    throw VmError.from(error, 'IO', { path: folder });
  }
}

async function make(folder: string): Promise<string> {
  try {
    await mkdir(folder, { mode: 0o700 });
    return folder;
  } catch (error) {
    throw VmError.from(error, 'IO', { path: folder });
  }
}

function noRoom(neededMiB: number, looked: readonly Room[]): VmError {
  const rooms = looked.map(({ path: folder, freeMiB }) => `${folder} has ${freeMiB} MiB`).join(', ');
  const found = rooms === '' ? 'this host has no tmpfs at /dev/shm' : rooms;
  return new VmError('IO', `no room for ${neededMiB} MiB of memory: ${found}`, {
    errno: 'ENOSPC',
    path: looked[0]?.path,
    advice: 'Give the guest less memory, free some room, or keep the memory on a disk.',
  });
}
