import type { GuestImage } from '../images/image.ts';
import { removeImage } from '../images/remove.ts';
import { places } from '../state/paths.ts';
import { VmStore } from '../state/store.ts';
import { unusedImages } from './images.ts';
import { removeVm } from './inspect.ts';
import { prune } from './prune.ts';
import { isAbandoned, statusOf } from './status.ts';

/** What can be removed without ending anything. */
export interface Unused {
  /** names of VMs that nobody can use any more: what dead processes left */
  abandoned: string[];
  /** names of VMs that have ended */
  ended: string[];
  /** guest images that no other VM uses and no new one would boot */
  images: GuestImage[];
}

/** Finds what can be removed; without `all` only what dead processes left. Changes nothing. */
export async function findUnused(options: { all?: boolean } = {}): Promise<Unused> {
  const records = (await new VmStore().list()).flatMap(({ record }) => record ?? []);
  const abandoned = records.filter(isAbandoned).map(({ name }) => name);
  if (options.all !== true) return { abandoned, ended: [], images: [] };
  const ended = records
    .filter((record) => !isAbandoned(record) && ['stopped', 'failed'].includes(statusOf(record)))
    .map(({ name }) => name);
  return { abandoned, ended, images: await unusedImages({ ignoring: [...abandoned, ...ended] }) };
}

/**
 * Removes what was found. What has come to life again since is left alone.
 * @throws {VmError} INVALID_STATE when an ended VM was started meanwhile; IO
 */
export async function removeUnused(unused: Unused): Promise<void> {
  for (const name of unused.abandoned) await prune(name);
  for (const name of unused.ended) await removeVm(name);
  for (const image of unused.images) await removeImage(places().images, image);
}
