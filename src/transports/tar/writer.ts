import { BLOCK_BYTES, checksumOf, paddingOf, TYPE_FLAGS, type TarEntry } from './entry.ts';

const NAME_BYTES = 100;
const MAX_ID = 0o7777777;
const MAX_SIZE = 0o77777777777;
const SECOND_NS = 1_000_000_000n;

/** Two zero blocks: the end of an archive. */
export const TAR_TRAILER: Buffer = Buffer.alloc(2 * BLOCK_BYTES);

/** What may be written beside what is read. */
export type WrittenEntry = Omit<TarEntry, 'type'> & { type: TarEntry['type'] | 'fifo' };

/** Before the name of an attribute, as GNU tar, libarchive and every builder of images write it. */
const XATTR_KEY = 'SCHILY.xattr.';

/**
 * An entry's headers: ustar, with a pax header before it for what doesn't fit.
 * @param xattrs extended attributes by their full names
 */
export function tarHeaders(entry: WrittenEntry, xattrs: ReadonlyMap<string, Buffer> = new Map()): Buffer {
  const header = plainHeader(entry);
  const attributes = [...xattrs].map(([name, value]) => record(`${XATTR_KEY}${name}`, value));
  const records = Buffer.concat([paxRecords(entry), ...attributes]);
  if (records.length === 0) return header;
  const size = records.length;
  const extended = plainHeader(
    {
      type: 'file',
      name: Buffer.from('././@PaxHeader'),
      link: Buffer.alloc(0),
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeNs: 0n,
      size,
    },
    'x',
  );
  return Buffer.concat([extended, records, Buffer.alloc(paddingOf(size)), header]);
}

function plainHeader(entry: WrittenEntry, flag: string = flagOf(entry)): Buffer {
  const { name, link, mode, uid, gid, mtimeNs, size } = entry;
  const seconds = mtimeNs < 0n ? 0n : mtimeNs / SECOND_NS;
  const block = Buffer.alloc(BLOCK_BYTES);
  name.copy(block, 0, 0, NAME_BYTES);
  putOctal(block, 100, 8, mode);
  putOctal(block, 108, 8, uid > MAX_ID ? 0 : uid);
  putOctal(block, 116, 8, gid > MAX_ID ? 0 : gid);
  putOctal(block, 124, 12, size > MAX_SIZE ? 0 : size);
  putOctal(block, 136, 12, seconds > BigInt(MAX_SIZE) ? 0 : Number(seconds));
  block.write(flag, 156, 'latin1');
  link.copy(block, 157, 0, NAME_BYTES);
  block.write('ustar\u000000', 257, 'latin1');
  putOctal(block, 148, 7, checksumOf(block));
  block[155] = 32;
  return block;
}

function flagOf({ type }: WrittenEntry): string {
  return type === 'fifo' ? '6' : TYPE_FLAGS[type];
}

/** Octal digits and a NUL. */
function putOctal(block: Buffer, at: number, bytes: number, value: number): void {
  block.write(value.toString(8).padStart(bytes - 1, '0'), at, 'latin1');
}

/** What the plain header can't say. */
function paxRecords({ name, link, uid, gid, mtimeNs, size }: WrittenEntry): Buffer {
  const records: Buffer[] = [];
  if (name.length > NAME_BYTES) records.push(record('path', name));
  if (link.length > NAME_BYTES) records.push(record('linkpath', link));
  if (size > MAX_SIZE) records.push(record('size', String(size)));
  if (uid > MAX_ID) records.push(record('uid', String(uid)));
  if (gid > MAX_ID) records.push(record('gid', String(gid)));
  if (mtimeNs < 0n || mtimeNs % SECOND_NS !== 0n || mtimeNs / SECOND_NS > BigInt(MAX_SIZE))
    records.push(record('mtime', decimalSeconds(mtimeNs)));
  return Buffer.concat(records);
}

/** `LENGTH key=value\n`, where LENGTH counts its own digits too. */
function record(key: string, value: string | Buffer): Buffer {
  const text = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from('\n')]);
  let length = text.length + 1;
  while (String(length).length + text.length !== length) length = String(length).length + text.length;
  return Buffer.concat([Buffer.from(String(length)), text]);
}

function decimalSeconds(ns: bigint): string {
  const positive = ns < 0n ? -ns : ns;
  const fraction = String(positive % SECOND_NS).padStart(9, '0');
  return `${ns < 0n ? '-' : ''}${positive / SECOND_NS}.${fraction}`;
}
