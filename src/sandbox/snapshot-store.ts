import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { isValidName } from '../config/names.ts';
import { suggest } from '../config/suggest.ts';
import { VmError } from '../errors.ts';
import { type Places, places } from '../state/paths.ts';
import { checkSnapshot, readManifest, type SnapshotManifest } from './snapshot-manifest.ts';

/** What is known of a snapshot. */
export interface SnapshotInfo extends SnapshotManifest {
  folder: string;
}

/** A snapshot in a list; one that can't be restored says why. */
export interface SnapshotSummary {
  /** its own, not that of the VM that was saved */
  name: string;
  folder: string;
  state: 'ready' | 'broken';
  /** absent of one that can't be read */
  info?: SnapshotInfo | undefined;
  problem?: VmError | undefined;
}

/** Where a snapshot is. @param target a name, which is kept among this user's state; or a path, with a slash in it */
export function snapshotFolder(target: string, at: Places = places()): string {
  if (typeof target !== 'string' || target === '')
    throw new VmError('INVALID_ARGUMENT', 'a snapshot is meant by a name, or by the path of its folder');
  if (target.includes('/')) return path.resolve(target);
  if (isValidName(target)) return path.join(at.snapshots, target);
  throw new VmError('INVALID_NAME', `${JSON.stringify(target)} can't be the name of a snapshot`, {
    advice: 'Use letters, digits, `-` and `_`; or write a path, such as ./saved.',
  });
}

/** The snapshots of this user that have a name, by it. Their memory is not read: whether that is whole `inspectSnapshot` tells. @throws {VmError} IO */
export async function listSnapshots(): Promise<SnapshotSummary[]> {
  const names = (await entries(places())).filter(isValidName).toSorted();
  return Promise.all(
    names.map(async (name): Promise<SnapshotSummary> => {
      const folder = snapshotFolder(name);
      try {
        return { name, folder, state: 'ready', info: { ...(await readManifest(folder)), folder } };
      } catch (error) {
        return { name, folder, state: 'broken', problem: VmError.from(error) };
      }
    }),
  );
}

/**
 * All that is known of a snapshot, all of whose files are read.
 * @param target a name, or the path of a folder, with a slash in it
 * @throws {VmError} NOT_FOUND, FILE_NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, PERMISSION when it was signed with another key
 */
export async function inspectSnapshot(
  target: string,
  options: { trust?: boolean | undefined } = {},
): Promise<SnapshotInfo> {
  await requireThere(target);
  const folder = snapshotFolder(target);
  const manifest = await readManifest(folder, options);
  await checkSnapshot(folder, manifest);
  return { ...manifest, folder };
}

/**
 * Removes a snapshot that has a name. VMs that were made of it go on.
 * @throws {VmError} NOT_FOUND, INVALID_NAME for a path, IO
 */
export async function removeSnapshot(name: string): Promise<void> {
  if (!isValidName(name))
    throw new VmError('INVALID_NAME', `${JSON.stringify(name)} is not the name of a snapshot`, {
      advice: 'A snapshot in a folder of your own is removed with that folder.',
    });
  await requireThere(name);
  const folder = snapshotFolder(name);
  try {
    await rm(folder, { recursive: true });
  } catch (error) {
    throw VmError.from(error, 'IO', { path: folder });
  }
}

/** @throws {VmError} NOT_FOUND when a name is meant and there is none, with one that is near */
export async function requireThere(target: string): Promise<void> {
  if (!isValidName(target)) return;
  const names = await entries(places());
  if (names.includes(target)) return;
  const near = suggest(target, names.filter(isValidName));
  const advice =
    near === undefined
      ? '`polyvisor snapshot ls` lists the names; a folder is written with a slash.'
      : `Did you mean ${near}?`;
  throw new VmError('NOT_FOUND', `there is no snapshot named ${target}`, { name: target, advice });
}

async function entries(at: Places): Promise<string[]> {
  try {
    return await readdir(at.snapshots);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw VmError.from(error, 'IO', { path: at.snapshots });
  }
}
