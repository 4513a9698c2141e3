import { rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { VmError } from '../errors.ts';
import type { GuestImage } from './image.ts';
import { openScratch } from './store.ts';

/** Fewer digits of a key could be mistaken for a name. */
const leastKeyDigits = 4;

/**
 * The images that a word means: those of that name, the one in the folder of that name, or those whose key begins with it.
 * @throws {VmError} IMAGE_NOT_FOUND
 */
export function imagesMeant(images: readonly GuestImage[], word: string): GuestImage[] {
  const isKey = word.length >= leastKeyDigits && /^[0-9a-f]+$/.test(word);
  const found = images.filter(
    ({ name, folder, manifest }) =>
      name === word || basename(folder) === word || (isKey && manifest.key.startsWith(word)),
  );
  if (found.length > 0) return found;
  throw new VmError('IMAGE_NOT_FOUND', `there is no guest image ${word}`, {
    advice: images.length === 0 ? undefined : '`polyvisor image ls` lists names and keys.',
  });
}

/** Removes an image; it is gone at once, for all. Nothing happens when it isn't there any more. @throws {VmError} IO */
export async function removeImage(cacheFolder: string, image: GuestImage): Promise<void> {
  const scratch = await openScratch(cacheFolder);
  try {
    await rename(image.folder, join(scratch, 'image'));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOENT')
      throw new VmError('IO', `cannot remove the image: ${message}`, { path: image.folder, errno: code, cause });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
