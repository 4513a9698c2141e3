import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { promisify } from 'node:util';
import { VmError } from '../../errors.ts';
import { defaultPath, findProgram } from './find-program.ts';

const run = promisify(execFile);

/** The program that makes FIFOs, wherever our PATH leads: every host has it. @throws {VmError} HOST_MISSING */
export async function mkfifoTool(): Promise<string> {
  // Looked for here: Node's child would try each folder of the PATH while we stand still.
  return findProgram('mkfifo', `/usr/bin:/bin:${process.env['PATH'] ?? defaultPath}`).catch((error: unknown) => {
    throw new VmError('HOST_MISSING', 'mkfifo is not on this host', { advice: 'Install coreutils.', cause: error });
  });
}

/**
 * Makes FIFOs (0600), in place of older ones; one process for all of them, as Node has no call for it.
 * @throws {VmError} HOST_MISSING when there is no `mkfifo`, IO
 */
export async function makeFifos(...paths: readonly string[]): Promise<void> {
  try {
    for (const path of paths) rmSync(path, { force: true });
    await run(await mkfifoTool(), ['-m', '600', '--', ...paths]);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof VmError) throw error;
    throw new VmError('IO', `can't make ${paths.join(', ')}: ${message}`, {
      path: paths[0],
      errno: code,
      cause: error,
    });
  }
}
