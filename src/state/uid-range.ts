import { mkdirSync, readdirSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../errors.ts';

/*
 * Uids for VMMs, one each. A uid is taken by a symbolic link named after it, which the kernel makes once or not at all; it says
 * for which VM. The folder is one for the whole host, whatever POLYVISOR_HOME says, and is empty after a reboot, as uids are then free.
 */

/** Numbers that no distribution gives to users or their subordinate ids, nor systemd to anyone (its UIDS-GIDS.md). */
const defaultRange: UidRange = { first: 2_100_000_000, count: 65_536 };

export interface UidRange {
  first: number;
  count: number;
}

/** Where uids are taken. */
const takenFolder = '/run/polyvisor/uids';

/**
 * The uids that VMMs get: POLYVISOR_UIDS, as `FIRST-LAST`, or 2100000000-2100065535.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function uidRange(env: NodeJS.ProcessEnv = process.env): UidRange {
  const text = env['POLYVISOR_UIDS'];
  if (text === undefined || text === '') return defaultRange;
  const [, from, to] = /^(\d{1,10})-(\d{1,10})$/.exec(text) ?? [];
  const [first, last] = [Number(from), Number(to)];
  // 2^32 - 1 and 2^32 - 2 mean something else to the kernel; below 1000 are the host's own users.
  if (from === undefined || first < 1000 || last < first || last > 2 ** 32 - 3) {
    throw new VmError(
      'INVALID_ARGUMENT',
      `POLYVISOR_UIDS must be FIRST-LAST, from 1000 on, not ${JSON.stringify(text)}`,
    );
  }
  return { first, count: last - first + 1 };
}

/**
 * Takes a uid that no other VM has; the same again for the same VM.
 * @param id of the VM
 * @throws {VmError} BUSY when all are taken, IO
 */
export function takeUid(id: string, range: UidRange = uidRange(), folder: string = takenFolder): number {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Where to begin depends on the id, so that a uid is not used again soon, and a VM finds its own at once.
    const start = Number.parseInt(id, 16) % range.count;
    for (let step = 0; step < range.count; step++) {
      const uid = range.first + ((start + step) % range.count);
      const holder = taken(path.join(folder, `${uid}`), id);
      if (holder === id) return uid;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't take a uid: ${message}`, { path: folder, errno: code, cause: error });
  }
  throw new VmError('BUSY', `all ${range.count} uids for VMMs are taken`, {
    advice: 'Remove VMs, or give more in POLYVISOR_UIDS.',
  });
}

/** Frees what a VM took. Its VMM must have ended. @throws {VmError} IO */
export function freeUids(id: string, folder: string = takenFolder): void {
  let entries: string[] = [];
  try {
    entries = readdirSync(folder);
  } catch {
    // Nobody took any.
    return;
  }
  for (const entry of entries) {
    const file = path.join(folder, entry);
    if (holderOf(file) !== id) continue;
    try {
      unlinkSync(file);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT')
        throw new VmError('IO', `can't free the uid ${entry}: ${message}`, { path: file, errno: code });
    }
  }
}

/** Who has this uid: this VM from now on, if it was free. */
function taken(file: string, id: string): string | undefined {
  try {
    symlinkSync(id, file);
    return id;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return holderOf(file);
  }
}

function holderOf(file: string): string | undefined {
  try {
    return readlinkSync(file);
  } catch {
    return undefined;
  }
}
