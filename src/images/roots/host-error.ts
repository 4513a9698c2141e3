import { VmError } from '../../errors.ts';

/** The error of a file of the host that can't be read. */
export function hostError(file: string, cause: unknown): VmError {
  if (cause instanceof VmError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const missing = code === 'ENOENT' || code === 'ENOTDIR';
  return new VmError(missing ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE', `cannot read ${file}: ${message}`, {
    path: file,
    errno: code,
    cause,
  });
}
