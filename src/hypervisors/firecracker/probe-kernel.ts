import { open } from 'node:fs/promises';
import { fileError } from '../../config/file-error.ts';
import { VmError } from '../../errors.ts';
import { has, releaseWith } from './probe-versions.ts';

/** First bytes of an ELF file. */
const elf = Buffer.from('\x7fELF', 'latin1');

/**
 * Looks whether Firecracker can boot a kernel: it says no more of one that it can't than that its magic number is wrong.
 * @throws {VmError} FILE_INVALID, FILE_NOT_FOUND, FILE_UNREADABLE
 */
export async function checkKernel(path: string, version: string | undefined): Promise<void> {
  // Elsewhere than on x86 it boots images of the architecture's own form.
  if (has(version, 'bzImage') || process.arch !== 'x64') return;
  const file = await open(path, 'r').catch((error: unknown) => {
    throw fileError(error, 'kernel', path);
  });
  try {
    const { buffer } = await file.read(Buffer.alloc(elf.length), 0, elf.length, 0);
    if (buffer.equals(elf)) return;
  } finally {
    await file.close();
  }
  throw new VmError(
    'FILE_INVALID',
    `Firecracker ${version ?? ''} boots uncompressed ELF kernels (vmlinux) only, not ${path}`,
    {
      field: 'kernel',
      path,
      advice: `\`polyvisor image build\` makes one; compressed kernels need Firecracker ${releaseWith('bzImage')}.`,
    },
  );
}
