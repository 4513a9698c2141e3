import path from 'node:path';
import { VmError } from '../errors.ts';
import type { GuestImage } from '../images/image.ts';
import { removeImage } from '../images/remove.ts';
import { places } from '../state/paths.ts';
import { VmStore } from '../state/store.ts';
import { unusedImages } from './images.ts';
import { removeVm } from './inspect.ts';
import { findAbandoned, pruneEach, type PruneSelection, throwFailures } from './prune.ts';
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

/**
 * Finds what can be removed; without `all` only what dead processes left. Changes nothing.
 * @param options all: VMs that have ended and images, too; name, id: only what a dead process left of this VM
 * @throws {VmError} STATE_INVALID when the VM that was named can't be read; IO
 */
export async function findUnused(options: PruneSelection & { all?: boolean } = {}): Promise<Unused> {
  const abandoned = (await findAbandoned(options)).map(({ name }) => name);
  if (options.all !== true) return { abandoned, ended: [], images: [] };
  const records = (await new VmStore().list()).flatMap(({ record }) => record ?? []);
  const ended = records
    .filter((record) => !isAbandoned(record) && ['stopped', 'failed'].includes(statusOf(record)))
    .map(({ name }) => name);
  return { abandoned, ended, images: await unusedImages({ ignoring: [...abandoned, ...ended] }) };
}

/**
 * Removes what was found. What has come to life again since is left alone. One thing that can't be removed keeps no other one.
 * @returns what was removed
 * @throws {VmError} INVALID_STATE when an ended VM was started meanwhile; IO
 * @throws {AggregateError} of VmErrors when several could not be removed
 */
export async function removeUnused(unused: Unused): Promise<Unused> {
  const { failures, ...removed } = await removeEach(unused);
  throwFailures(failures);
  return removed;
}

/** As `removeUnused`, but tells failures beside what it did. */
export async function removeEach(unused: Unused): Promise<Unused & { failures: VmError[] }> {
  const done: Unused & { failures: VmError[] } = { abandoned: [], ended: [], images: [], failures: [] };
  const attempt = async (name: string, remove: () => Promise<void>): Promise<void> => {
    await remove().catch((error: unknown) => void done.failures.push(VmError.from(error).with({ name })));
  };
  for (const name of unused.abandoned) {
    await attempt(name, async () => {
      const { removed, failures } = await pruneEach({ name });
      done.abandoned.push(...removed);
      done.failures.push(...failures);
    });
  }
  for (const name of unused.ended) {
    await attempt(name, async () => {
      await removeVm(name);
      done.ended.push(name);
    });
  }
  for (const image of unused.images) {
    await attempt(path.basename(image.folder), async () => {
      await removeImage(places().images, image);
      done.images.push(image);
    });
  }
  return done;
}
