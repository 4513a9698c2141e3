import { stat } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../errors.ts';

/** Bytes of a file that a VMM has written of a snapshot. @throws {VmError} FILE_NOT_FOUND */
export async function sizeOfPart(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    throw new VmError('FILE_NOT_FOUND', `the snapshot lacks ${path.basename(file)}`, { path: file, cause: error });
  }
}
