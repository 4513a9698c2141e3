import { VmError } from '../errors.ts';

/** An error of the file system, as the error of the field that named the file. */
export function fileError(cause: unknown, field: string, path: string): VmError {
  const errno = (cause as NodeJS.ErrnoException).code ?? 'UNKNOWN';
  const facts = { field, path, errno, cause };
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new VmError('FILE_NOT_FOUND', `${field}: there is no ${path}`, facts);
    case 'EACCES':
    case 'EPERM':
      return new VmError('FILE_UNREADABLE', `${field}: no permission to read ${path}`, facts);
    case 'EISDIR':
      return new VmError('FILE_INVALID', `${field}: ${path} is a folder, a file is needed`, facts);
    case 'ELOOP':
    case 'ENAMETOOLONG':
      return new VmError('FILE_INVALID', `${field}: ${path} can't be a file (${errno})`, facts);
    default:
      return new VmError('FILE_UNREADABLE', `${field}: can't read ${path} (${errno})`, facts);
  }
}
