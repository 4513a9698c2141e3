import { VmError } from '../../errors.ts';
import type { RangeReader } from './range-reader.ts';
import { damaged, parseHeader, parsePax, paxNumber, tarBlock, type TarHeader } from './tar-header.ts';
import type { FileRange } from './tree.ts';

/** An entry of a tar archive, with the place of its content. Text is bytes (latin1). */
export interface TarEntry extends Omit<TarHeader, 'size'> {
  data: FileRange;
  xattrs: ReadonlyMap<string, Buffer>;
}

/** What is read of an archive at most. */
export interface TarLimits {
  entries: number;
  /**
   * An archive may end with the content of an entry, without padding and the blocks of zeros: umoci leaves them out. Only where a digest has
   * shown that it is whole.
   */
  openEnd?: boolean | undefined;
}

/** No real header comes near this. */
const maxHeaderBytes = 1 << 20;
const xattrPrefix = 'SCHILY.xattr.';

/**
 * The entries of an uncompressed tar archive that anybody may have made: ustar, GNU and pax. Contents are passed over, not read.
 * @throws {VmError} IMAGE_INVALID when it is damaged, cut short or holds too many entries; UNSUPPORTED for sparse files; ABORTED
 */
export async function* tarEntries(
  reader: RangeReader,
  archive: FileRange,
  limits: TarLimits,
  signal?: AbortSignal,
): AsyncGenerator<TarEntry> {
  const { file } = archive;
  const end = archive.offset + archive.size;
  const take = async (at: number, length: number): Promise<Buffer> => {
    const bytes = at + length > end ? Buffer.alloc(0) : await reader.read(file, at, length);
    if (bytes.length < length) throw damaged('it is cut short');
    return Buffer.from(bytes);
  };
  let extended = new Map<string, Buffer>();
  const general = new Map<string, Buffer>();
  let count = 0;
  for (let at = archive.offset; ;) {
    signal?.throwIfAborted();
    if (at >= end && limits.openEnd === true) return;
    const header = parseHeader(await take(at, tarBlock));
    if (header === undefined) return;
    if (++count > limits.entries)
      throw new VmError('IMAGE_INVALID', `the tar archive has over ${limits.entries} entries`);
    at += tarBlock;
    const known = new Map([...general, ...extended]);
    const isMeta = 'xgLK'.includes(header.type);
    const sizeRecord = isMeta ? undefined : known.get('size');
    const size = sizeRecord === undefined ? header.size : paxNumber(sizeRecord);
    if (size < 0 || at + size > end) throw damaged('it is cut short');
    const next = at + Math.ceil(size / tarBlock) * tarBlock;
    if (isMeta) {
      if (size > maxHeaderBytes) throw damaged('an extended header is too large');
      const data = await take(at, size);
      if (header.type === 'g') for (const [key, value] of parsePax(data)) general.set(key, value);
      else if (header.type === 'x') for (const [key, value] of parsePax(data)) extended.set(key, value);
      else extended.set(header.type === 'L' ? 'path' : 'linkpath', trimmed(data));
    } else {
      yield describe(header, known, { file, offset: at, size });
      extended = new Map();
    }
    at = next;
  }
}

function describe(header: TarHeader, records: Map<string, Buffer>, data: FileRange): TarEntry {
  if (header.type === 'S' || [...records.keys()].some((key) => key.startsWith('GNU.sparse.')))
    throw new VmError('UNSUPPORTED', 'the tar archive holds sparse files in a form of GNU tar', {
      advice: 'Make the archive without --sparse.',
    });
  const text = (key: string): string | undefined => records.get(key)?.toString('latin1');
  const number = (key: string): number | undefined => {
    const value = records.get(key);
    return value === undefined ? undefined : paxNumber(value);
  };
  const xattrs = [...records].filter(([key]) => key.startsWith(xattrPrefix));
  const path = text('path') ?? header.path;
  // Archives of before POSIX know folders by their names alone.
  const isOldFolder = (header.type === '0' || header.type === '\0') && path.endsWith('/');
  return {
    path,
    type: isOldFolder ? '5' : header.type,
    mode: header.mode,
    uid: number('uid') ?? header.uid,
    gid: number('gid') ?? header.gid,
    mtime: number('mtime') ?? header.mtime,
    target: text('linkpath') ?? header.target,
    data,
    xattrs: new Map(xattrs.map(([key, value]) => [key.slice(xattrPrefix.length), value])),
  };
}

/** GNU's long names end with a NUL. */
function trimmed(data: Buffer): Buffer {
  const end = data.indexOf(0);
  return end < 0 ? data : data.subarray(0, end);
}
