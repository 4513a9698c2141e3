import { randomBytes } from 'node:crypto';

/** A name for a VM whose user gave none. */
export function madeUpName(): string {
  return `vm-${randomBytes(4).toString('hex')}`;
}
