import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { VmError } from '../errors.ts';
import { writeAtomically } from './atomic-file.ts';
import type { Places } from './paths.ts';
import { openSeal } from './seal.ts';

/** What was read from a signed file. */
export interface Signed {
  /** without its digests; nothing else of it has been checked */
  value: Record<string, unknown>;
  /** whether it was written with this user's key */
  ours: boolean;
}

/** Writes a value as JSON, with a digest by which damage shows and one that only this user's key can make. @throws {VmError} IO, PERMISSION */
export async function writeSigned(file: string, value: object, at: Places): Promise<void> {
  const text = JSON.stringify(value);
  const digests = { digest: digestOf(text), seal: (await openSeal(at)).of(text) };
  await writeAtomically(file, `${JSON.stringify({ ...value, ...digests }, undefined, 2)}\n`);
}

/**
 * Reads what {@link writeSigned} wrote.
 * @param what is not in the folder when the file is missing, such as `snapshot`
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID when it is damaged, or of another schema; PERMISSION, STATE_INVALID
 */
export async function readSigned(
  file: string,
  { schema, what, at }: { schema: number; what: string; at: Places },
): Promise<Signed> {
  let stored: Record<string, unknown> | null;
  try {
    stored = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown> | null;
  } catch (error) {
    const { code: errno } = error as NodeJS.ErrnoException;
    const code = errno === 'ENOENT' ? 'FILE_NOT_FOUND' : errno === undefined ? 'FILE_INVALID' : 'FILE_UNREADABLE';
    throw new VmError(code, `${file} holds no ${what}`, { path: file, errno, cause: error });
  }
  if (typeof stored !== 'object' || stored === null || stored['schema'] !== schema)
    throw new VmError('FILE_INVALID', `${file} is not what this version writes`, { path: file });
  const { digest, seal, ...value } = stored;
  const text = JSON.stringify(value);
  if (digest !== digestOf(text))
    throw new VmError('FILE_INVALID', `${file} is damaged: its digest is wrong`, { path: file });
  return { value, ours: (await openSeal(at)).fits(text, seal) };
}

/** Of the text that it is written as: fields in the same order, no blanks. */
function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
