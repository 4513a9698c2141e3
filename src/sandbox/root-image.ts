import { type FileHandle, open, stat } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { fileError } from '../config/file-error.ts';
import type { GuestArch } from '../config/host.ts';
import type { Param } from '../config/kernel-params.ts';
import { VmError } from '../errors.ts';
import { architectureOf } from '../images/host-architecture.ts';
import { defaultImageName } from '../images/image.ts';
import { diskHeadBytes, diskTypes, fileSystemOf, hasPartitions, isQcow2 } from '../images/roots/disk-type.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import { findRoot } from '../images/roots/root-store.ts';

/** The guest's parameters by which its agent knows what the root image is. */
const [rootKey, typeKey] = ['polyvisor.root', 'polyvisor.rootfstype'];

/**
 * The kernel parameter that says which file system is on a root image; none when the caller's parameters say it already.
 * @throws {VmError} FILE_INVALID for an image that the default guest can't mount; FILE_NOT_FOUND, FILE_UNREADABLE
 */
export async function rootTypeParams(image: string, given: readonly Param[]): Promise<Param[]> {
  if (given.some(({ key }) => key === rootKey || key === typeKey)) return [];
  const head = await headOf(image);
  const found = fileSystemOf(head);
  if (found !== undefined) return [{ key: typeKey, value: found }];
  const [what, advice] = isQcow2(head)
    ? ['a qcow2 image', 'Import it (`polyvisor image import`), or convert it: `qemu-img convert -O raw OLD NEW`.']
    : hasPartitions(head)
      ? [
          'a disk with partitions',
          'Import it (`polyvisor image import`), or name the partition by `kernelParams`: polyvisor.root=/dev/vda1 and polyvisor.rootfstype=ext4.',
        ]
      : ['no file system that a guest has a driver for', `Make it one of ${diskTypes.join(', ')}.`];
  throw new VmError('FILE_INVALID', `${image} is ${what}`, { path: image, field: 'image', advice });
}

/** What a VM's option `image` means when it is no path. */
export interface StoredImage {
  name: string;
  /** absolute path of the root file system; undefined for the default guest, which is one by itself */
  file: string | undefined;
  config: RootConfig | undefined;
  /** whose programs are in it; undefined for the default guest, which there is for each */
  architecture?: 'x86_64' | 'aarch64' | undefined;
}

/**
 * The image of the store that an option names; undefined for a path, and for what the schema will refuse.
 * @throws {VmError} IMAGE_NOT_FOUND, INVALID_NAME
 */
export async function storedImage(store: string, image: unknown): Promise<StoredImage | undefined> {
  if (typeof image !== 'string' || image === '' || image.startsWith('/')) return undefined;
  if (image === defaultImageName) return { name: image, file: undefined, config: undefined };
  const found = await findRoot(store, image);
  if (found !== undefined) {
    const { config, architecture } = found.manifest;
    return { name: found.name, file: found.file, config, architecture };
  }
  throw new VmError('IMAGE_NOT_FOUND', `there is no image ${image}`, {
    field: 'image',
    advice:
      '`polyvisor image ls` lists the images; `polyvisor image import` makes one. A command of the default guest comes after `--`.',
  });
}

/**
 * Refuses an image with programs of another architecture than the guest's.
 * @param arch the guest's, where it is not the host's
 * @throws {VmError} INVALID_CONFIG
 */
export function requireSameArchitecture(stored: StoredImage | undefined, arch: GuestArch | undefined): void {
  if (stored?.architecture === undefined) return;
  const { linux } = architectureOf(arch);
  if (stored.architecture === linux) return;
  throw new VmError(
    'INVALID_CONFIG',
    `the image ${stored.name} is for ${stored.architecture}, but the guest is of ${linux}`,
    {
      field: 'image',
      advice: 'Leave `arch` and `machineType` out, or name the path of a disk with programs for the guest.',
    },
  );
}

/**
 * Refuses an image whose files can't be put into a folder, for a guest that is no machine.
 * @throws {VmError} UNSUPPORTED, FILE_NOT_FOUND, FILE_UNREADABLE
 */
export async function requireUnpackable(image: string, hypervisor: string): Promise<void> {
  if (fileSystemOf(await headOf(image)) === 'erofs') return;
  throw new VmError(
    'UNSUPPORTED',
    `${hypervisor} has no machine that could mount ${image}: it takes images that were imported`,
    {
      path: image,
      field: 'image',
      advice: 'Import a folder or an archive (`polyvisor image import`).',
    },
  );
}

/** Puts the files of an image into a folder. @returns how many have lost extended attributes @throws {VmError} as `unpackRoot` does */
export async function unpackImage(image: string, folder: string, { signal }: CallOptions): Promise<number> {
  const { unpackRoot } = await import('../images/roots/unpack-root.ts');
  const { size } = await stat(image).catch((error: unknown) => {
    throw fileError(error, 'image', image);
  });
  return unpackRoot({ file: image, offset: 0, size }, folder, signal);
}

async function headOf(image: string): Promise<Buffer> {
  let file: FileHandle;
  try {
    file = await open(image, 'r');
  } catch (error) {
    throw fileError(error, 'image', image);
  }
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(diskHeadBytes), 0, diskHeadBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
