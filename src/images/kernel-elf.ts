import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { fileError } from '../config/file-error.ts';
import { VmError } from '../errors.ts';
import { sha256 } from './file-record.ts';
import { elfKernel, kernelPayload, unpackKernel } from './kernel.ts';
import type { BuildScope } from './packages.ts';
import { unpackFile } from './unpack-file.ts';

const suffix = '.elf';

/** The ELF kernel in a bzImage, also of one that is packed by zstd or xz, as Ubuntu, Fedora and Debian 13 have it; undefined where there is none. */
export async function kernelElf(
  image: Buffer,
  scope: Pick<BuildScope, 'scratch' | 'signal'>,
): Promise<Buffer | undefined> {
  const payload = kernelPayload(image);
  if (payload === undefined) return undefined;
  const packing =
    payload.readUInt32LE(0) === 0xfd2f_b528 ? 'zst' : payload.toString('latin1', 1, 5) === '7zXZ' ? 'xz' : '';
  if (packing === '') return unpackKernel(image);
  const packed = join(scope.scratch, `kernel.${packing}`);
  // Its length stands behind it, which is no part of the packed stream.
  await writeFile(packed, payload.subarray(0, -4));
  return elfKernel(await unpackFile(packed, scope));
}

/**
 * A kernel as a VMM takes it that boots ELF files: what is in a bzImage, unpacked once and kept by its content; any other file as it is.
 * @param store folder of the kernels that were unpacked; made when it isn't there
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE; FILE_INVALID for a bzImage that is damaged; HOST_MISSING without xz or zstd; IO, ABORTED
 */
export async function elfKernelFile(path: string, store: string, { signal }: CallOptions): Promise<string> {
  const image = await readFile(path).catch((cause: unknown) => {
    throw fileError(cause, 'kernel', path);
  });
  const kept = join(store, `${sha256(image)}${suffix}`);
  if ((await stat(kept).catch(() => undefined)) !== undefined) return kept;
  try {
    await mkdir(store, { recursive: true, mode: 0o700 });
    const scratch = await mkdtemp(join(store, '.unpacking-'));
    try {
      const kernel = await kernelElf(image, { scratch, signal });
      if (kernel === undefined) return path;
      const made = join(scratch, 'kernel');
      // Readable to a VMM under a uid of its own that is shown it.
      await writeFile(made, kernel, { mode: 0o644, flush: true });
      await rename(made, kept);
      return kept;
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  } catch (error) {
    const known = VmError.from(error, 'IO');
    if (known.code !== 'IMAGE_BUILD_FAILED') throw known.with({ field: 'kernel', path });
    throw new VmError('FILE_INVALID', known.rawMessage, { field: 'kernel', path, cause: error });
  }
}

/** Removes the kernels that were unpacked and are none of these. @throws {VmError} IO */
export async function pruneKernelFiles(store: string, used: ReadonlySet<string>): Promise<void> {
  const names = await readdir(store).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw VmError.from(error, 'IO', { path: store });
  });
  for (const name of names.filter((it) => it.endsWith(suffix)))
    if (!used.has(join(store, name))) await rm(join(store, name), { force: true });
}
