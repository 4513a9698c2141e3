import type { GuestImage } from '../images/image.ts';
import type { RootManifest } from '../images/roots/root-image.ts';
import type { ImageInUse } from '../sandbox/images.ts';
import type { RootImageInUse } from '../sandbox/root-images.ts';
import { table } from './table.ts';
import { mebibytes } from './units.ts';

/** Images as a table: guests, the newest first, then roots by name. */
export function imageListing(images: readonly ImageInUse[], roots: readonly RootImageInUse[] = []): string {
  const rows = images.map(({ image, usedBy, isCurrent }) => {
    const { kernelRelease, architecture } = image.manifest;
    const state = isCurrent ? 'current' : 'old';
    const size = compact(sizeOf([image]));
    return [image.name, keyOf(image), state, kernelRelease, architecture, size, `${usedBy.length}`, image.folder];
  });
  const rootRows = roots.map(({ image: { name, file, manifest }, usedBy }) => {
    const size = compact(mebibytes(manifest.root.size));
    return [name, digestOf(manifest), 'root', '-', manifest.architecture, size, `${usedBy.length}`, file];
  });
  return table(['NAME', 'KEY', 'STATE', 'KERNEL', 'ARCH', 'SIZE', 'VMS', 'PATH'], [...rows, ...rootRows]);
}

/** How many images, and how large they are together. */
export function imagesText(images: readonly GuestImage[]): string {
  return `${images.length === 1 ? `the image ${images.map(keyOf).join('')}` : `${images.length} images`} (${sizeOf(images)})`;
}

/** The bytes of images together. */
export function bytesOf(images: readonly GuestImage[]): number {
  return images
    .flatMap(({ manifest: { files } }) => [files.kernel, files.initrd, files.bzImage])
    .reduce((sum, file) => sum + (file?.size ?? 0), 0);
}

/** The size of images together, for people. */
export function sizeOf(images: readonly GuestImage[]): string {
  return mebibytes(bytesOf(images));
}

/** As much of a key as tells images apart. */
export function keyOf({ manifest: { key } }: GuestImage): string {
  return key.slice(0, 12);
}

/** As much of a root image's digest as tells it from others. */
export function digestOf({ root }: RootManifest): string {
  return root.sha256.slice(0, 12);
}

/** A cell of a table holds no blanks. */
function compact(text: string): string {
  return text.replace(' ', '');
}
