import { randomBytes } from 'node:crypto';
import { closeSync, fdatasync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { VmError } from '../errors.ts';

const flush = promisify(fdatasync);

/**
 * Writes a file so that a reader sees the old content or the new one and never a part, also after a crash of the host.
 * Mode 0600. Nothing is left behind on failure.
 * @throws {VmError} IO
 */
export async function writeAtomically(file: string, content: string): Promise<void> {
  await replace(file, content, true);
}

/**
 * The same for what says something of running processes only, which don't survive a crash of the host: after one, the file may
 * be empty. It spares the wait for the disk.
 * @throws {VmError} IO
 */
export async function writeUnflushed(file: string, content: string): Promise<void> {
  await replace(file, content, false);
}

/** Only the disk is waited for: the rest takes microseconds, and tens of times as long by Node's threads. */
async function replace(file: string, content: string, flushed: boolean): Promise<void> {
  const fresh = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    const fd = openSync(fresh, 'wx', 0o600);
    try {
      writeFileSync(fd, content);
      if (flushed) await flush(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, file);
  } catch (error) {
    removeQuietly(fresh);
    const { code, message } = error as NodeJS.ErrnoException;
    throw new VmError('IO', `can't write ${file}: ${message}`, { path: file, errno: code, cause: error });
  }
}

/** Why the file could not be written is what matters. */
function removeQuietly(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // It stays.
  }
}
