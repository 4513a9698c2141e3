import { lstat } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { hostError } from './host-error.ts';
import type { RangeReader } from './range-reader.ts';
import { tarEntries } from './tar-index.ts';
import type { FileRange } from './tree.ts';

/** The files of an image as it was shipped: a folder, or an archive that stays packed. */
export interface Contents {
  /** the path of folder or archive, for messages */
  readonly source: string;
  /** where a file's content is; undefined when there is no such file */
  find(name: string): Promise<FileRange | undefined>;
}

/** Names that a shipped image may point to: no way out of its folder. */
const safeName = /^(?!.*(?:^|\/)\.\.?(?:\/|$))[A-Za-z0-9_][A-Za-z0-9_.:@+/-]*$/;
/** A descriptor of an image is a few KiB; nobody's comes near this. */
const maxTextBytes = 4 << 20;
/** Files of an archive that ships an image: layers and descriptors, no files of a guest. */
const maxFiles = 100_000;
/** Links from one layer to another of a `docker save` of old. */
const maxLinks = 40;

/** The files of a folder. Links in it are not followed. */
export function folderContents(folder: string): Contents {
  return {
    source: folder,
    async find(name) {
      const file = path.join(folder, checkName(name));
      const found = await lstat(file).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return undefined;
        throw hostError(file, cause);
      });
      return found?.isFile() === true ? { file, offset: 0, size: found.size } : undefined;
    },
  };
}

/**
 * The files of an uncompressed tar archive, by their place in it.
 * @throws {VmError} IMAGE_INVALID, UNSUPPORTED, FILE_UNREADABLE, ABORTED
 */
export async function tarContents(
  reader: RangeReader,
  archive: FileRange,
  source: string,
  signal?: AbortSignal,
): Promise<Contents> {
  const files = new Map<string, FileRange>();
  const links = new Map<string, string>();
  for await (const entry of tarEntries(reader, archive, { entries: maxFiles }, signal)) {
    const name = path.posix.normalize(entry.path);
    if (entry.type === '0') files.set(name, entry.data);
    if (entry.type === '1') links.set(name, path.posix.normalize(entry.target));
    if (entry.type === '2') links.set(name, path.posix.join(path.posix.dirname(name), entry.target));
  }
  return {
    source,
    find(name) {
      let at = checkName(name);
      for (let followed = 0; followed < maxLinks; followed++) {
        const next = links.get(at);
        if (next === undefined) return Promise.resolve(files.get(at));
        at = next;
      }
      return Promise.resolve(undefined);
    },
  };
}

/** A JSON file of a shipped image; undefined when it is not there. @throws {VmError} IMAGE_INVALID, FILE_UNREADABLE */
export async function readJson(contents: Contents, reader: RangeReader, name: string): Promise<Buffer | undefined> {
  const found = await contents.find(name);
  if (found === undefined) return undefined;
  if (found.size > maxTextBytes)
    throw new VmError('IMAGE_INVALID', `${name} in ${contents.source} has over ${maxTextBytes} bytes`);
  const pieces: Buffer[] = [];
  for (let at = 0; at < found.size; at += 1 << 20)
    pieces.push(Buffer.from(await reader.read(found.file, found.offset + at, Math.min(1 << 20, found.size - at))));
  return Buffer.concat(pieces);
}

function checkName(name: string): string {
  if (name.length <= 4096 && safeName.test(name)) return name;
  throw new VmError(
    'IMAGE_INVALID',
    `the image names a file ${JSON.stringify(name.slice(0, 200))}, which leads elsewhere`,
  );
}
