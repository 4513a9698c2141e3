import { open } from 'node:fs/promises';
import { fileError } from '../../config/file-error.ts';
import { VmError } from '../../errors.ts';

/** Where a bzImage says that it is one, and how (Linux' Documentation/x86/boot.rst). */
const signature = { at: 0x202, text: 'HdrS' };

/**
 * Looks whether acrn-dm can boot a kernel. It loads whatever it is given, and enters it; another format than bzImage runs into
 * nothing, in silence.
 * @throws {VmError} FILE_INVALID, FILE_NOT_FOUND, FILE_UNREADABLE
 */
export async function checkKernel(path: string): Promise<void> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw fileError(error, 'kernel', path);
  });
  try {
    const { buffer } = await file.read(Buffer.alloc(signature.text.length), 0, signature.text.length, signature.at);
    if (buffer.toString('latin1') === signature.text) return;
  } finally {
    await file.close();
  }
  throw new VmError('FILE_INVALID', `acrn-dm boots kernels in the format bzImage only, not ${path}`, {
    field: 'kernel',
    path,
    advice: 'Name the vmlinuz of a distribution; the default guest has one.',
  });
}
