import { callScope, type CallOptions, type CallScope } from '../../config/call-options.ts';
import { VmError, type ErrorCode } from '../../errors.ts';
import type { CopiedFiles } from '../agent.ts';
import { integer } from '../exec-request.ts';
import { Fields, FieldWriter } from './fields.ts';
import { parseError } from './session.ts';
import { Tag } from './wire.ts';

const MAX_PATH_BYTES = 4095;
/** How long the agent may take to end a copy that was given up, in milliseconds. */
export const CANCEL_MS = 5000;

/** By errno: what the guest's file system said of the paths that were asked for. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'FILE_NOT_FOUND',
  ENOTDIR: 'FILE_INVALID',
  EISDIR: 'FILE_INVALID',
  ENOTEMPTY: 'FILE_INVALID',
  EINVAL: 'ARCHIVE_INVALID',
  ENOSYS: 'UNSUPPORTED',
  EAGAIN: 'BUSY',
};

/**
 * The field with a path of the guest.
 * @throws {VmError} INVALID_ARGUMENT
 */
export function pathField(field: string, path: string): FieldWriter {
  const bytes = Buffer.byteLength(path);
  if (!path.startsWith('/') || path.includes('\0') || bytes > MAX_PATH_BYTES) {
    throw new VmError(
      'INVALID_ARGUMENT',
      `${field}: must be an absolute path of at most ${MAX_PATH_BYTES} bytes without NUL, not ${JSON.stringify(path.slice(0, 256))}`,
      { operation: 'copy', field },
    );
  }
  return new FieldWriter().text(Tag.PATH, path);
}

/** The scope of a copy, which has no time limit of its own. */
export function copyScope(what: string, options: CallOptions): CallScope {
  integer('timeoutMs', options.timeoutMs, 1, 2 ** 31 - 1);
  const scope = callScope(what, { signal: options.signal, timeoutMs: options.timeoutMs });
  try {
    scope.throwIfEnded();
    return scope;
  } catch (error) {
    scope.release();
    throw error;
  }
}

/** An ERROR frame as an error. */
export function copyError(payload: Buffer, path: string): VmError {
  const { errno, message } = parseError(payload);
  return new VmError(CODES[errno] ?? 'AGENT_FAILED', `copy in the guest: ${message}`, {
    operation: 'copy',
    path,
    errno,
  });
}

export function parseCopied(payload: Buffer): CopiedFiles & { skipped: number; firstSkipped: string } {
  const fields = new Fields(payload);
  return {
    entries: fields.int(Tag.ENTRIES),
    bytes: fields.int(Tag.BYTES),
    skipped: fields.has(Tag.SKIPPED) ? fields.int(Tag.SKIPPED) : 0,
    firstSkipped: fields.message(Tag.MESSAGE, 1024),
  };
}
