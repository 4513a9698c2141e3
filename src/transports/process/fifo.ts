import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { VmError } from '../../errors.ts';

const run = promisify(execFile);

/**
 * Makes FIFOs (0600), in place of older ones; one process for all of them, as Node has no call for it.
 * @throws {VmError} HOST_MISSING when there is no `mkfifo`, IO
 */
export async function makeFifos(...paths: readonly string[]): Promise<void> {
  try {
    await Promise.all(paths.map((path) => rm(path, { force: true })));
    await run('mkfifo', ['-m', '600', '--', ...paths]);
  } catch (error) {
    const { code, message, syscall } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && syscall?.startsWith('spawn') === true) {
      throw new VmError('HOST_MISSING', 'mkfifo is not on this host', { advice: 'Install coreutils.', cause: error });
    }
    throw new VmError('IO', `can't make ${paths.join(', ')}: ${message}`, {
      path: paths[0],
      errno: code,
      cause: error,
    });
  }
}
