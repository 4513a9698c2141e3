import type { RootType } from './root-image.ts';

/** Bytes of a file that tell what it is. */
export const diskHeadBytes = 4096;

/** Where the superblock of each file system says which it is: those that the default guest has drivers for. */
const superblocks: readonly { type: RootType; at: number; magic: Buffer }[] = [
  { type: 'ext4', at: 1080, magic: Buffer.from([0x53, 0xef]) },
  { type: 'erofs', at: 1024, magic: Buffer.from([0xe2, 0xe1, 0xf5, 0xe0]) },
  { type: 'squashfs', at: 0, magic: Buffer.from('hsqs') },
];

/** Their names. */
export const diskTypes: readonly RootType[] = superblocks.map(({ type }) => type);

/** The file system that begins with these bytes; undefined for none that a guest could mount. */
export function fileSystemOf(head: Buffer): RootType | undefined {
  return superblocks.find((it) => has(head, it))?.type;
}

/** Whether a disk in QEMU's own format begins so. */
export function isQcow2(head: Buffer): boolean {
  return has(head, { at: 0, magic: Buffer.from([0x51, 0x46, 0x49, 0xfb]) });
}

/** Whether a disk with partitions begins so. */
export function hasPartitions(head: Buffer): boolean {
  return has(head, { at: 510, magic: Buffer.from([0x55, 0xaa]) });
}

/** Whether an ext4 file system waits for its journal to be played back: it was in use when it was copied. (`INCOMPAT_RECOVER`, fs/ext4/ext4.h) */
export function needsRecovery(head: Buffer): boolean {
  return fileSystemOf(head) === 'ext4' && (head.readUInt32LE(1024 + 0x60) & 4) !== 0;
}

function has(head: Buffer, { at, magic }: { at: number; magic: Buffer }): boolean {
  return head.subarray(at, at + magic.length).equals(magic);
}
