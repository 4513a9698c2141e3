import { constants } from 'node:fs';
import { access, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { type HeldLock, lock } from '../../state/lock.ts';
import { vmFiles } from '../../state/paths.ts';

/*
 * Guests of ACRN have their memory in huge pages. acrn-dm raises the host's number of them when it finds too few and never lowers it
 * again; so they are reserved here before it starts, written down, and given back.
 */

/** Where the host's pages of 2 MiB are counted, and the folder that all who reserve them lock. */
export interface HugePagesHost {
  counters: string;
  lockFolder: string;
}

export const hostHugePages: HugePagesHost = {
  counters: '/sys/kernel/mm/hugepages/hugepages-2048kB',
  lockFolder: '/run/hugepage/acrn',
};

/** Beside the guest's memory, for a frame buffer that every guest has (FB_SIZE of acrn-dm). */
const extraMiB = 16;

/** How many pages a guest takes. */
export function pagesFor(memoryMiB: number): number {
  return (memoryMiB + extraMiB) / 2;
}

/**
 * Sees to it that there are free pages for a guest. The lock that it returns must be held until they have been taken.
 * @throws {VmError} HOST_MISSING when there are not enough
 */
export async function reserveHugePages(
  stateFolder: string,
  memoryMiB: number,
  call: CallOptions = {},
  host: HugePagesHost = hostHugePages,
): Promise<HeldLock> {
  await mkdir(host.lockFolder, { recursive: true }).catch((error: unknown) => {
    throw tooFew(`can't make ${host.lockFolder}`, error);
  });
  const held = await lock(host.lockFolder, 'huge-pages', call);
  try {
    const needed = pagesFor(memoryMiB);
    const { total, available } = await count(host);
    const missing = needed - available;
    if (missing <= 0) return held;
    await access(path.join(host.counters, 'nr_hugepages'), constants.W_OK).catch((error: unknown) => {
      throw tooFew(
        `the guest needs ${needed} huge pages, ${available} are free, and this user may not reserve more`,
        error,
      );
    });
    await writeAtomically(vmFiles.hugePages(stateFolder), `${JSON.stringify({ schema: 1, pages: missing })}\n`);
    await setTotal(host, total + missing);
    const got = (await count(host)).total - total;
    if (got >= missing) return held;
    await setTotal(host, total);
    await rm(vmFiles.hugePages(stateFolder), { force: true });
    throw tooFew(`the guest needs ${needed} huge pages, ${available} were free, and the host could make ${got} more`);
  } catch (error) {
    await held.release();
    throw error;
  }
}

/** Gives back what was reserved for a VM that has ended, as far as nobody else has taken it. Does nothing when nothing was. */
export async function releaseHugePages(stateFolder: string, host: HugePagesHost = hostHugePages): Promise<void> {
  const file = vmFiles.hugePages(stateFolder);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return;
  const held = await lock(host.lockFolder, 'huge-pages', { timeoutMs: 60_000 });
  try {
    const { pages } = JSON.parse(text) as { pages?: unknown };
    if (typeof pages !== 'number')
      throw new VmError('STATE_INVALID', `${file} is not what this version writes`, { path: file });
    const { total, available } = await count(host);
    await setTotal(host, total - Math.min(pages, available));
    await rm(file, { force: true });
  } finally {
    await held.release();
  }
}

/** `available`: free, and promised to nobody. */
async function count({ counters }: HugePagesHost): Promise<{ total: number; available: number }> {
  const read = async (name: string): Promise<number> => {
    try {
      return Number(await readFile(path.join(counters, name), 'utf8'));
    } catch (error) {
      throw tooFew('the kernel has no huge pages of 2 MiB', error);
    }
  };
  const [total, free, promised] = [
    await read('nr_hugepages'),
    await read('free_hugepages'),
    await read('resv_hugepages'),
  ];
  return { total, available: free - promised };
}

async function setTotal({ counters }: HugePagesHost, pages: number): Promise<void> {
  const file = path.join(counters, 'nr_hugepages');
  await writeFile(file, `${pages}`).catch((error: NodeJS.ErrnoException) => {
    throw new VmError('IO', `can't write ${file}: ${error.message}`, { path: file, errno: error.code, cause: error });
  });
}

function tooFew(problem: string, cause?: unknown): VmError {
  return new VmError('HOST_MISSING', problem, {
    field: 'memoryMiB',
    advice:
      'Ask for less memory, free some on the host, or reserve huge pages when the host boots (`hugepages=` on its kernel command line).',
    cause,
  });
}
