import { VmError } from '../../errors.ts';
import { defaultPath, findProgram } from './find-program.ts';

/**
 * The path of one of the programs that every host has (coreutils), wherever our PATH leads. Looked for here: Node's child would try each folder
 * of the PATH while we stand still.
 * @throws {VmError} HOST_MISSING
 */
export async function coreTool(name: 'mkfifo'): Promise<string> {
  return findProgram(name, `/usr/bin:/bin:${process.env['PATH'] ?? defaultPath}`).catch((error: unknown) => {
    throw new VmError('HOST_MISSING', `${name} is not on this host`, { advice: 'Install coreutils.', cause: error });
  });
}
