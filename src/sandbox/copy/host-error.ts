import { type ErrorCode, VmError } from '../../errors.ts';
import { printable } from '../../guest/printable.ts';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'FILE_NOT_FOUND',
  EACCES: 'FILE_UNREADABLE',
  EPERM: 'FILE_UNREADABLE',
  ENOTDIR: 'FILE_INVALID',
  EISDIR: 'FILE_INVALID',
  ENOTEMPTY: 'FILE_INVALID',
  ELOOP: 'FILE_INVALID',
};

/** What the host's file system said, about a path that may be any bytes. A VmError stays what it is. */
export function hostError(error: unknown, path: Buffer | string, why?: string): VmError {
  if (error instanceof VmError) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  const shown = printable(path.toString(), 1024);
  // Node's message ends with paths of ours under /proc/self/fd.
  const words = why ?? message.replace(/, \w+ '.*$/s, '');
  return new VmError(CODES[code] ?? 'IO', `${shown}: ${words}`, { path: shown, errno: code, cause: error });
}
