import path from 'node:path';
import { assetPath } from '../config/assets.ts';
import { agentBinary } from '../config/package-files.ts';
import { VmError } from '../errors.ts';
import { TemplateStore } from '../factory/template-store.ts';
import { defaultGuests } from '../images/default-guest.ts';
import { type GuestImage, hostImageName } from '../images/image.ts';
import { pruneKernelFiles } from '../images/kernel-elf.ts';
import { imagesMeant, removeImage } from '../images/remove.ts';
import { findImage, listImages } from '../images/store.ts';
import { places } from '../state/paths.ts';
import { VmStore } from '../state/store.ts';
import { recall } from './context.ts';

/** An image, and the VMs and templates that were made of it and are still there, running or not. */
export interface ImageInUse {
  image: GuestImage;
  /** names of VMs, and of templates as `template NAME` */
  usedBy: string[];
  /** whether a new VM boots it: one that names no kernel, or the host's */
  isCurrent: boolean;
}

/** All guest images of this user, the newest first. */
export async function listImageUse(): Promise<ImageInUse[]> {
  const cache = places().images;
  const images = await listImages(cache);
  // Without the agent no image is current, and none is made for it either.
  const current = await Promise.all(
    [...defaultGuests(), { name: hostImageName, agentPath: agentBinary }].map(({ name, agentPath }) =>
      findImage(cache, name, agentPath).catch(() => undefined),
    ),
  );
  const kernels = [...(await kernelsByVm()), ...(await kernelsByTemplate())];
  return images.map((image) => ({
    image,
    usedBy: kernels.filter(({ kernel }) => path.dirname(kernel) === image.folder).map(({ name }) => name),
    isCurrent: current.some((it) => it?.folder === image.folder),
  }));
}

/**
 * The images that a word means: a name, a folder's name, or the beginning of a key.
 * @throws {VmError} IMAGE_NOT_FOUND
 */
export async function findImageUse(word: string): Promise<ImageInUse[]> {
  const all = await listImageUse();
  const meant = imagesMeant(
    all.map(({ image }) => image),
    word,
  );
  return all.filter(({ image }) => meant.includes(image));
}

/**
 * Removes the one image that a word means.
 * @returns its folder
 * @throws {VmError} IMAGE_NOT_FOUND; INVALID_ARGUMENT when it means several; BUSY when a VM uses it and `force` is not given; IO
 */
export async function removeImageOf(word: string, options: { force?: boolean } = {}): Promise<string> {
  const [meant, ...others] = await findImageUse(word);
  if (meant === undefined) throw new VmError('INTERNAL', `no image is meant by ${word}`);
  if (others.length > 0) {
    throw new VmError('INVALID_ARGUMENT', `${word} means ${others.length + 1} images`, {
      advice:
        'Name one by more of its key, as `polyvisor image ls` shows it; `polyvisor image prune` removes those that are out of date.',
    });
  }
  if (meant.usedBy.length > 0 && options.force !== true) {
    throw new VmError('BUSY', `the image is used by ${meant.usedBy.join(', ')}`, {
      path: meant.image.folder,
      advice: 'Remove these VMs first, or use force (`polyvisor image rm -f`).',
    });
  }
  await removeImage(places().images, meant.image);
  return meant.image.folder;
}

/**
 * The images that no VM uses and, unless `all` is set, that are out of date: no new VM would boot them.
 * @param ignoring VMs that don't count
 */
export async function unusedImages(
  options: { all?: boolean; ignoring?: readonly string[] } = {},
): Promise<GuestImage[]> {
  const { all = false, ignoring = [] } = options;
  const images = await listImageUse();
  return images
    .filter(({ usedBy }) => usedBy.every((name) => ignoring.includes(name)))
    .filter(({ isCurrent }) => all || !isCurrent)
    .map(({ image }) => image);
}

/** Removes kernels that were unpacked of files that users named, and that no VM and no template has. @throws {VmError} IO */
export async function pruneKernels(): Promise<void> {
  const used = [...(await kernelsByVm()), ...(await kernelsByTemplate())].map(({ kernel }) => kernel);
  await pruneKernelFiles(places().kernels, new Set(used));
}

/** A clone's VMM reads the files that its template was booted from. */
async function kernelsByTemplate(): Promise<{ name: string; kernel: string }[]> {
  return (await new TemplateStore().list()).flatMap(({ name, manifest }) => {
    const kernel = manifest === undefined ? undefined : assetPath(manifest.config, 'kernel');
    return kernel === undefined ? [] : [{ name: `template ${name}`, kernel }];
  });
}

async function kernelsByVm(): Promise<{ name: string; kernel: string }[]> {
  const store = new VmStore();
  const known = await Promise.all(
    (await store.list()).map(async ({ name, record }) => {
      // A VM whose record or configuration can't be read can't be started again either.
      const recalled = record === undefined ? undefined : await recall(store, record).catch(() => undefined);
      const kernel = recalled === undefined ? undefined : assetPath(recalled.context.config, 'kernel');
      return kernel === undefined ? [] : [{ name, kernel }];
    }),
  );
  return known.flat();
}
