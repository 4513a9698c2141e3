import { execFile } from 'node:child_process';
import { chmod, readdir, readlink, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { isClosed } from '../template-memory.ts';

const mib = 2 ** 20;

/** Most bytes that the copying tool may say. */
const maxWords = 64 * 1024;

/**
 * The file in which a running QEMU's main memory is, if others can see it: one without a name, which the process holds open.
 * @returns undefined when its memory is its own
 */
export async function sharedMemoryFile(pid: number, sizeMiB: number): Promise<string | undefined> {
  const folder = `/proc/${pid}/fd`;
  const found: string[] = [];
  // Of a VMM that is another user's nothing is shown.
  for (const fd of await readdir(folder).catch(() => [])) {
    const file = path.join(folder, fd);
    // One that is closed meanwhile is none that holds memory.
    const target = await readlink(file).catch(() => '');
    if (!/\/qemu_back_mem\.|^\/memfd:memory-backend-memfd/.test(target)) continue;
    if ((await stat(file)).size === sizeMiB * mib) found.push(file);
  }
  return found.length === 1 ? found[0] : undefined;
}

/**
 * Copies memory into a new file (0600), without what the guest has never touched. The copy shares its blocks with the source where the file
 * system can.
 * @throws {VmError} HOST_MISSING, IO, ABORTED; no file is left
 */
export async function copyMemory(source: string, target: string, { signal }: CallOptions): Promise<void> {
  const words = ['--sparse=auto', '--reflink=auto', '--dereference', '--', source, target];
  try {
    // Node copies holes as zeros, and has no call that finds them.
    await promisify(execFile)('cp', words, { signal, maxBuffer: maxWords, env: { ...process.env, LC_ALL: 'C' } });
    await chmod(target, (await isClosed(path.dirname(target))) ? 0o666 : 0o600);
  } catch (error) {
    await rm(target, { force: true });
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new VmError('HOST_MISSING', 'cp is not on this host', { advice: 'Install coreutils.', cause: error });
    const said = (error as { stderr?: string }).stderr?.trim() ?? '';
    if (said === '') throw VmError.from(error, 'IO', { path: target });
    throw new VmError('IO', `the memory can't be copied: ${said}`, { path: target, cause: error });
  }
}
