import { assetPath } from '../config/assets.ts';
import { VmError } from '../errors.ts';
import { type PullOptions, pullRoot } from '../images/registry/pull.ts';
import { buildRoot, type PackageBuildOptions } from '../images/roots/build-root.ts';
import { type ImportOptions, importRoot } from '../images/roots/import.ts';
import type { RootImage } from '../images/roots/root-image.ts';
import { listRoots, pruneFiles, removeRoot } from '../images/roots/root-store.ts';
import { places } from '../state/paths.ts';
import { VmStore } from '../state/store.ts';
import { recall } from './context.ts';

/** A root image, and the VMs that have it, running or not. */
export interface RootImageInUse {
  image: RootImage;
  /** names of VMs */
  usedBy: string[];
}

/** Fewer digits of a digest could be mistaken for a name. */
const leastDigits = 4;

/**
 * Makes a root image of an OCI layout, what `docker save` wrote, a tar archive or a folder, for `Vm.create({ image: NAME })`.
 * @throws {VmError} as {@link importRoot} does
 */
export async function importImage(
  source: string,
  options: Omit<ImportOptions, 'store' | 'source'> = {},
): Promise<RootImage> {
  return importRoot({ ...options, source, store: places().roots });
}

/**
 * Gets an image from a registry, for `Vm.create({ image: NAME })`, unless the very same is there.
 * @param reference `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`
 * @throws {VmError} as {@link pullRoot} does
 */
export async function pullImage(
  reference: string,
  options: Omit<PullOptions, 'store' | 'reference'> = {},
): Promise<RootImage> {
  return pullRoot({ ...options, reference, store: places().roots });
}

/**
 * Makes a root image of Debian packages and what they need, by the host's `mmdebstrap`. Needs no root where user namespaces are allowed.
 * @throws {VmError} as {@link buildRoot} does
 */
export async function buildPackageImage(
  name: string,
  options: Omit<PackageBuildOptions, 'store' | 'name'>,
): Promise<RootImage> {
  return buildRoot({ ...options, name, store: places().roots });
}

/** All root images of this user, by name. @throws {VmError} IO */
export async function listRootImages(): Promise<RootImageInUse[]> {
  const used = await filesByVm();
  return (await listRoots(places().roots)).map((image) => ({
    image,
    usedBy: used.filter(({ file }) => file === image.file).map(({ name }) => name),
  }));
}

/** The root images that a word means: the one of that name, else those whose digest begins with it. @throws {VmError} IO */
export async function findRootImages(word: string): Promise<RootImageInUse[]> {
  const all = await listRootImages();
  const named = all.filter(({ image }) => image.name === word);
  if (named.length > 0 || word.length < leastDigits) return named;
  return all.filter(({ image }) => image.manifest.root.sha256.startsWith(word));
}

/**
 * Removes a root image by its name, or by a digest that only it has. A VM that has it keeps its file.
 * @throws {VmError} IMAGE_NOT_FOUND; INVALID_ARGUMENT when it means several; BUSY when a VM has it and `force` is not given; IO
 */
export async function removeRootImage(word: string, options: { force?: boolean } = {}): Promise<void> {
  const [meant, ...others] = await findRootImages(word);
  if (meant === undefined) throw new VmError('IMAGE_NOT_FOUND', `there is no image ${word}`);
  if (others.length > 0)
    throw new VmError('INVALID_ARGUMENT', `${word} means ${others.length + 1} images`, {
      advice: 'Say the name of one.',
    });
  const { image, usedBy } = meant;
  if (usedBy.length > 0 && options.force !== true)
    throw new VmError('BUSY', `the image is used by ${usedBy.join(', ')}`, {
      path: image.file,
      advice: 'Remove these VMs first, or use force (`polyvisor image rm -f`).',
    });
  await removeRoot(places().roots, image, usedBy.length > 0);
}

/**
 * Removes file systems that have lost their names and that no VM has.
 * @param options all: also images that no VM has, names and all
 * @returns the names that were removed, and the bytes that are free now
 * @throws {VmError} IO, BUSY
 */
export async function pruneRootImages(options: { all?: boolean } = {}): Promise<{ names: string[]; bytes: number }> {
  const { roots } = places();
  const unused = options.all === true ? (await listRootImages()).filter(({ usedBy }) => usedBy.length === 0) : [];
  for (const { image } of unused) await removeRoot(roots, image, true);
  const used = new Set((await filesByVm()).map(({ file }) => file));
  const bytes = await pruneFiles(roots, (file) => used.has(file));
  return { names: unused.map(({ image }) => image.name), bytes };
}

async function filesByVm(): Promise<{ name: string; file: string }[]> {
  const store = new VmStore();
  const known = await Promise.all(
    (await store.list()).map(async ({ name, record }) => {
      // A VM whose record or configuration can't be read can't be started again either.
      const recalled = record === undefined ? undefined : await recall(store, record).catch(() => undefined);
      const file = recalled === undefined ? undefined : assetPath(recalled.context.config, 'image');
      return file === undefined ? [] : [{ name, file }];
    }),
  );
  return known.flat();
}
