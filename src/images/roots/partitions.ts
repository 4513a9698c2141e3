import { VmError } from '../../errors.ts';
import { diskHeadBytes, fileSystemOf } from './disk-type.ts';
import { readHead } from './spool.ts';
import type { FileRange } from './tree.ts';

/** A part of a disk. */
interface Partition {
  /** as the kernel counts them, from 1 on */
  number: number;
  range: FileRange;
}

const sectorBytes = 512;
/** Of a GUID partition table; more than any program makes. */
const maxEntries = 1024;

/**
 * The partition of a disk that is its root: the one that is named, else the only one with a file system that a guest has a driver for.
 * @param ref its number
 * @throws {VmError} IMAGE_INVALID, INVALID_ARGUMENT when it can't be told, FILE_UNREADABLE
 */
export async function rootPartition(disk: FileRange, source: string, ref: string | undefined): Promise<FileRange> {
  const all = (await guidPartitions(disk)) ?? (await masterPartitions(disk));
  const within = all.filter(({ range }) => range.size > 0 && range.offset + range.size <= disk.offset + disk.size);
  const usable: Partition[] = [];
  for (const partition of within)
    if (fileSystemOf(await readHead(partition.range, diskHeadBytes)) !== undefined) usable.push(partition);
  const numbers = usable.map(({ number }) => number).join(', ');
  if (ref !== undefined) {
    const meant = usable.find(({ number }) => String(number) === ref);
    if (meant !== undefined) return meant.range;
    throw new VmError('INVALID_ARGUMENT', `${source} has no partition ${ref} with a file system that a guest mounts`, {
      field: 'ref',
      path: source,
      advice: usable.length === 0 ? 'It has none at all.' : `There are: ${numbers}.`,
    });
  }
  const [first, ...others] = usable;
  if (first === undefined)
    throw new VmError('IMAGE_INVALID', `no partition of ${source} has a file system that a guest mounts`, {
      path: source,
      advice: 'It must be ext4, squashfs or erofs.',
    });
  if (others.length === 0) return first.range;
  throw new VmError('INVALID_ARGUMENT', `${source} has several partitions with a file system: ${numbers}`, {
    field: 'ref',
    path: source,
    advice: 'Say the number of the one that is the root (`--ref`).',
  });
}

/** Of a GUID partition table (UEFI specification, 5.3); undefined when there is none. */
async function guidPartitions(disk: FileRange): Promise<Partition[] | undefined> {
  const header = await part(disk, sectorBytes, sectorBytes);
  if (header.length < 92 || header.toString('latin1', 0, 8) !== 'EFI PART') return undefined;
  const [at, count, bytes] = [Number(header.readBigUInt64LE(72)), header.readUInt32LE(80), header.readUInt32LE(84)];
  if (count > maxEntries || bytes < 128 || bytes > 4096) return [];
  const table = await part(disk, at * sectorBytes, count * bytes);
  const found: Partition[] = [];
  for (let index = 0; (index + 1) * bytes <= table.length; index++) {
    const entry = table.subarray(index * bytes, (index + 1) * bytes);
    if (entry.subarray(0, 16).every((byte) => byte === 0)) continue;
    const [first, last] = [Number(entry.readBigUInt64LE(32)), Number(entry.readBigUInt64LE(40))];
    found.push({ number: index + 1, range: rangeOf(disk, first, last - first + 1) });
  }
  return found;
}

/** The four primary ones of a master boot record. */
async function masterPartitions(disk: FileRange): Promise<Partition[]> {
  const record = await part(disk, 0, sectorBytes);
  if (record.length < sectorBytes) return [];
  return [0, 1, 2, 3].map((index) => {
    const at = 446 + index * 16;
    return { number: index + 1, range: rangeOf(disk, record.readUInt32LE(at + 8), record.readUInt32LE(at + 12)) };
  });
}

function rangeOf({ file, offset }: FileRange, sector: number, sectors: number): FileRange {
  const valid =
    Number.isSafeInteger(sector * sectorBytes) && Number.isSafeInteger(sectors * sectorBytes) && sectors > 0;
  return { file, offset: offset + (valid ? sector * sectorBytes : 0), size: valid ? sectors * sectorBytes : 0 };
}

function part({ file, offset, size }: FileRange, at: number, length: number): Promise<Buffer> {
  if (!Number.isSafeInteger(at) || at >= size) return Promise.resolve(Buffer.alloc(0));
  return readHead({ file, offset: offset + at, size: size - at }, length);
}
