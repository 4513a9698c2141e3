import { headOf } from './file-head.ts';

/** Where the header of a firmware volume has its signature (UEFI Platform Initialization, volume 3, 3.2.1). */
const signatureAt = 40;

/** Whether a firmware image begins with a firmware volume, as UEFI's do. False for a file that can't be read. */
export function isUefi(path: string): boolean {
  return headOf(path, signatureAt + 4)?.toString('latin1', signatureAt) === '_FVH';
}
