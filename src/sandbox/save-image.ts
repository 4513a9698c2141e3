import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { randomBytes } from 'node:crypto';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { ImportEvent } from '../images/roots/import.ts';
import { RangeReader } from '../images/roots/range-reader.ts';
import { findRoot } from '../images/roots/root-store.ts';
import type { RootImage } from '../images/roots/root-image.ts';
import { filesOf, ociArchive, rawDisk, type SaveFormat, type SaveOptions } from '../images/roots/save.ts';
import type { FolderNode } from '../images/roots/tree.ts';
import { treeArchive } from '../images/roots/tree-archive.ts';
import { places } from '../state/paths.ts';

/** How an image is saved. */
export interface SaveImageOptions extends CallOptions {
  /**
   * `oci`: an archive for `importImage`, skopeo, podman and docker; `tar`: its files alone; `disk`: its file system, as a raw disk. Default: `oci`,
   * and `disk` for one that was imported from a disk, whose files are not read here
   */
  format?: SaveFormat | undefined;
  onEvent?: ((event: ImportEvent) => void) | undefined;
}

/**
 * Writes an image into a file or a stream.
 * @param target path of a file, which gets its name when it is whole and takes the place of one that is there; or a stream, which is ended
 * @returns the format in which it was saved
 * @throws {VmError} IMAGE_NOT_FOUND, INVALID_NAME, INVALID_ARGUMENT; UNSUPPORTED for an archive of a disk; IMAGE_INVALID, IO, TIMEOUT, ABORTED
 */
export async function saveImage(
  name: string,
  target: string | Writable,
  options: SaveImageOptions = {},
): Promise<SaveFormat> {
  const { onEvent, format, ...limits } = options;
  if (format !== undefined && !saveFormats.includes(format))
    throw new VmError('INVALID_ARGUMENT', `format must be one of ${saveFormats.join(', ')}`, { field: 'format' });
  const image = await findRoot(places().roots, name);
  if (image === undefined)
    throw new VmError('IMAGE_NOT_FOUND', `there is no image ${name}`, {
      advice: '`polyvisor image ls` lists the images; the default guest is none that could be saved.',
    });
  const scope = callScope(`saving of ${name}`, limits);
  const { signal } = scope;
  const reader = new RangeReader();
  try {
    const { pieces, as } = await piecesOf(image, format, reader, { signal, onEvent });
    // A piece is valid until the next is asked for, and a stream asks ahead.
    const copies = async function* (): AsyncGenerator<Buffer> {
      for await (const piece of pieces) yield Buffer.from(piece);
    };
    const archive = Readable.from(copies(), { objectMode: false, highWaterMark: 1 << 20 });
    if (typeof target === 'string') await intoFile(path.resolve(target), archive);
    else await pipeline(archive, target);
    return as;
  } catch (error) {
    scope.throwIfEnded();
    throw VmError.from(error, 'IO', { operation: 'image save' });
  } finally {
    await reader[Symbol.asyncDispose]();
    scope.release();
  }
}

/** All that there are. */
export const saveFormats: readonly SaveFormat[] = ['oci', 'tar', 'disk'];

async function piecesOf(
  image: RootImage,
  format: SaveFormat | undefined,
  reader: RangeReader,
  options: SaveOptions,
): Promise<{ pieces: AsyncGenerator<Buffer>; as: SaveFormat }> {
  let tree: FolderNode | undefined;
  if (format !== 'disk') {
    try {
      tree = await filesOf(image, reader, options);
    } catch (error) {
      if (format !== undefined || VmError.from(error).code !== 'UNSUPPORTED') throw error;
    }
  }
  if (tree === undefined) return { pieces: rawDisk(image, reader, options), as: 'disk' };
  if (format === 'tar') return { pieces: treeArchive(tree, reader, options.signal), as: 'tar' };
  return { pieces: ociArchive(image, tree, reader, options), as: 'oci' };
}

/** Long runs of zeros take no room in it. */
async function intoFile(file: string, pieces: AsyncIterable<Buffer>): Promise<void> {
  const partial = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    const made = await open(partial, 'wx', 0o644);
    try {
      let at = 0;
      for await (const piece of pieces) {
        const hole = piece.equals(zeros.subarray(0, piece.length));
        for (let done = hole ? piece.length : 0; done < piece.length;)
          done += (await made.write(piece, done, piece.length - done, at + done)).bytesWritten;
        at += piece.length;
      }
      await made.truncate(at);
      await made.sync();
    } finally {
      await made.close();
    }
    await rename(partial, file);
  } catch (cause) {
    await rm(partial, { force: true });
    throw VmError.from(cause, 'IO', { path: file });
  }
}

/** As long as the longest piece. */
const zeros = Buffer.alloc(1 << 20);
