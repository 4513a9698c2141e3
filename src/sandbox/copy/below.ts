import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import type { TarEntry } from '../../transports/tar/entry.ts';

/*
 * How what comes out of a guest is written: every name is opened from the descriptor of the folder it lies in, and no link is followed.
 */

/** Opens a folder, and nothing that only leads to one. */
export const FOLDER: number = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The guest's set-id bits mean something only together with its owners. */
export const SET_ID_BITS = 0o6000;

/** A name in an open folder. The kernel goes through the descriptor, whatever has become of the folder's path. */
export function within(folder: FileHandle, leaf: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${folder.fd}/`), leaf]);
}

/** What is not yet whole has such a name. */
export function temporaryName(): Buffer {
  return Buffer.from(`.polyvisor-${randomBytes(8).toString('hex')}`);
}

/**
 * Node takes times as floating-point seconds and cuts them to microseconds: half a one more makes up for the rounding. A negative
 * number means now to it, but an early Date is that date.
 */
export function seconds({ mtimeNs }: Pick<TarEntry, 'mtimeNs'>): number | Date {
  return mtimeNs < 0n ? new Date(Number(mtimeNs / 1_000_000n)) : (Number(mtimeNs / 1000n) + 0.5) / 1e6;
}

/**
 * Does something in a folder that lies below an open one. The way to it is gone from the top, and never through a link.
 * @throws what opening a folder of them does: ENOENT, ENOTDIR, ELOOP, EACCES
 */
export async function inFolderBelow<T>(
  top: FileHandle,
  parts: readonly Buffer[],
  act: (folder: FileHandle) => Promise<T>,
): Promise<T> {
  const opened: FileHandle[] = [];
  try {
    let folder = top;
    for (const part of parts) {
      folder = await open(within(folder, part), FOLDER);
      opened.push(folder);
    }
    return await act(folder);
  } finally {
    for (const handle of opened) await handle.close();
  }
}
