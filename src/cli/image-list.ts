import type { GuestImage } from '../images/image.ts';
import type { ImageInUse } from '../sandbox/images.ts';
import { table } from './table.ts';
import { mebibytes } from './units.ts';

/** Images as a table, the newest first. */
export function imageListing(images: readonly ImageInUse[]): string {
  const rows = images.map(({ image, usedBy, isCurrent }) => {
    const { kernelRelease, architecture } = image.manifest;
    const state = isCurrent ? 'current' : 'old';
    const size = compact(sizeOf([image]));
    return [image.name, keyOf(image), state, kernelRelease, architecture, size, `${usedBy.length}`, image.folder];
  });
  return table(['NAME', 'KEY', 'STATE', 'KERNEL', 'ARCH', 'SIZE', 'VMS', 'FOLDER'], rows);
}

/** How many images, and how large they are together. */
export function imagesText(images: readonly GuestImage[]): string {
  return `${images.length === 1 ? `the image ${images.map(keyOf).join('')}` : `${images.length} images`} (${sizeOf(images)})`;
}

/** The size of images together, for people. */
export function sizeOf(images: readonly GuestImage[]): string {
  const bytes = images.map(({ manifest: { files } }) => files.kernel.size + files.initrd.size);
  return mebibytes(bytes.reduce((sum, size) => sum + size, 0));
}

/** As much of a key as tells images apart. */
export function keyOf({ manifest: { key } }: GuestImage): string {
  return key.slice(0, 12);
}

/** A cell of a table holds no blanks. */
function compact(text: string): string {
  return text.replace(' ', '');
}
