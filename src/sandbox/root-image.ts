import { type FileHandle, open } from 'node:fs/promises';
import { fileError } from '../config/file-error.ts';
import type { Param } from '../config/kernel-params.ts';
import { VmError } from '../errors.ts';
import { defaultImageName } from '../images/image.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import { findRoot } from '../images/roots/root-store.ts';

/** Where the superblock of each file system says which it is: those that the default guest has drivers for. */
const superblocks = [
  { type: 'ext4', at: 1080, magic: Buffer.from([0x53, 0xef]) },
  { type: 'erofs', at: 1024, magic: Buffer.from([0xe2, 0xe1, 0xf5, 0xe0]) },
  { type: 'squashfs', at: 0, magic: Buffer.from('hsqs') },
] as const;

/** What can be told of files that look like images and can't be mounted. */
const others = [
  {
    at: 0,
    magic: Buffer.from([0x51, 0x46, 0x49, 0xfb]),
    what: 'a qcow2 image',
    advice: 'Convert it: `qemu-img convert -O raw OLD NEW`.',
  },
  {
    at: 510,
    magic: Buffer.from([0x55, 0xaa]),
    what: 'a disk with partitions',
    advice: 'Name the partition by `kernelParams`: polyvisor.root=/dev/vda1 and polyvisor.rootfstype=ext4.',
  },
] as const;

/** The guest's parameters by which its agent knows what the root image is. */
const [rootKey, typeKey] = ['polyvisor.root', 'polyvisor.rootfstype'];

/**
 * The kernel parameter that says which file system is on a root image; none when the caller's parameters say it already.
 * @throws {VmError} FILE_INVALID for an image that the default guest can't mount; FILE_NOT_FOUND, FILE_UNREADABLE
 */
export async function rootTypeParams(image: string, given: readonly Param[]): Promise<Param[]> {
  if (given.some(({ key }) => key === rootKey || key === typeKey)) return [];
  const head = await headOf(image);
  const has = ({ at, magic }: { at: number; magic: Buffer }): boolean =>
    head.subarray(at, at + magic.length).equals(magic);
  const found = superblocks.find(has);
  if (found !== undefined) return [{ key: typeKey, value: found.type }];
  const other = others.find(has);
  const types = superblocks.map(({ type }) => type).join(', ');
  throw new VmError('FILE_INVALID', `${image} is ${other?.what ?? 'no file system that a guest has a driver for'}`, {
    path: image,
    field: 'image',
    advice: other?.advice ?? `Make it one of ${types}.`,
  });
}

/** What a VM's option `image` means when it is no path. */
export interface StoredImage {
  name: string;
  /** absolute path of the root file system; undefined for the default guest, which is one by itself */
  file: string | undefined;
  config: RootConfig | undefined;
}

/**
 * The image of the store that an option names; undefined for a path, and for what the schema will refuse.
 * @throws {VmError} IMAGE_NOT_FOUND, INVALID_NAME
 */
export async function storedImage(store: string, image: unknown): Promise<StoredImage | undefined> {
  if (typeof image !== 'string' || image === '' || image.startsWith('/')) return undefined;
  if (image === defaultImageName) return { name: image, file: undefined, config: undefined };
  const found = await findRoot(store, image);
  if (found !== undefined) return { name: found.name, file: found.file, config: found.manifest.config };
  throw new VmError('IMAGE_NOT_FOUND', `there is no image ${image}`, {
    field: 'image',
    advice:
      '`polyvisor image ls` lists the images; `polyvisor image import` makes one. A command of the default guest comes after `--`.',
  });
}

async function headOf(image: string): Promise<Buffer> {
  let file: FileHandle;
  try {
    file = await open(image, 'r');
  } catch (error) {
    throw fileError(error, 'image', image);
  }
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(2048), 0, 2048, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
