import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VmError } from '../../errors.ts';
import { runTool } from '../host-tool.ts';
import { parseXattrs, type XattrsByPath } from './xattr-text.ts';

/** Those that an image has: capabilities of programs, what users wrote, and lists of access. */
const kept = '^(security\\.capability|user\\..+|system\\.posix_acl_(access|default))$';

/**
 * The extended attributes in a folder of the host, by the paths of files, as getfattr(1) reads them: Node.js reads none.
 * @returns undefined where the host has no getfattr
 * @throws {VmError} FILE_UNREADABLE, ABORTED
 */
export async function folderXattrs(
  folder: string,
  scratch: string,
  signal: AbortSignal | undefined,
): Promise<XattrsByPath | undefined> {
  const text = join(scratch, 'xattrs');
  const out = await open(text, 'w', 0o600);
  try {
    // No link is followed, and none is left out. Names are bytes, so what it prints goes to a file.
    const words = ['-R', '-P', '-h', '-d', '-e', 'base64', '--absolute-names', '-m', kept, '--', folder];
    const { exitCode, errors } = await runTool('getfattr', words, { signal, stdout: out.fd });
    const failure = errors.split('\n').find((line) => line !== '' && !line.endsWith(': Operation not supported'));
    if (exitCode !== 0 && failure !== undefined)
      throw new VmError('FILE_UNREADABLE', `the attributes in ${folder} can't be read: ${failure}`, { path: folder });
  } catch (error) {
    if (VmError.from(error).code !== 'HOST_MISSING') throw error;
    return undefined;
  } finally {
    await out.close();
  }
  return parseXattrs(await readFile(text, 'latin1'));
}
