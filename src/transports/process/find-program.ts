import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';
import { VmError } from '../../errors.ts';

/** What a shell looks through when PATH is not set. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Finds a program as execvp would: a name in PATH, a path as it is. Resolves with its absolute path.
 * @throws {VmError} HYPERVISOR_NOT_FOUND (exit code 127) when there is none, START_FAILED (126) when it may not be executed
 */
export async function findProgram(
  program: string,
  searchPath: string = process.env['PATH'] ?? defaultPath,
): Promise<string> {
  const candidates = program.includes('/')
    ? [path.resolve(program)]
    : searchPath.split(':').map((folder) => path.resolve(folder, program));
  let refused: Error | undefined;
  for (const candidate of program === '' ? [] : candidates) {
    try {
      // Most folders don't have it, and an error takes ten times as long as the look.
      const found = statSync(candidate, { throwIfNoEntry: false });
      if (found === undefined) continue;
      if (!found.isFile()) throw new Error('it is not a file');
      accessSync(candidate, constants.X_OK);
      return candidate;
    } catch (error) {
      const reason = error as NodeJS.ErrnoException;
      if (reason.code !== 'ENOENT' && reason.code !== 'ENOTDIR') refused ??= reason;
    }
  }
  if (refused !== undefined) {
    const facts = { path: program, exitCode: 126, cause: refused };
    throw new VmError('START_FAILED', `${program} can't be executed: ${refused.message}`, facts);
  }
  throw new VmError('HYPERVISOR_NOT_FOUND', `there is no program ${program || "''"}`, { path: program, exitCode: 127 });
}
