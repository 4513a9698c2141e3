/** One entry of a tar archive. Names are bytes: Linux asks for no encoding. */
export interface TarEntry {
  type: 'file' | 'folder' | 'symlink' | 'hardlink';
  /** relative; a folder's ends with a slash */
  name: Buffer;
  /** what a link points to; empty otherwise */
  link: Buffer;
  /** permissions, set-id and sticky bits: 0 to 0o7777 */
  mode: number;
  uid: number;
  gid: number;
  /** nanoseconds since the epoch */
  mtimeNs: bigint;
  /** bytes that follow; 0 unless a file */
  size: number;
}

export const BLOCK_BYTES = 512;

/** The type's byte in a header. */
export const TYPE_FLAGS = { file: '0', hardlink: '1', symlink: '2', folder: '5' } as const;

/** Bytes that fill the last block of a body. */
export function paddingOf(size: number): number {
  return (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;
}

/** The sum of a header's bytes, its own field counted as blanks. */
export function checksumOf(block: Buffer): number {
  let sum = 8 * 32;
  for (let at = 0; at < BLOCK_BYTES; at++) if (at < 148 || at >= 156) sum += block[at] as number;
  return sum;
}
