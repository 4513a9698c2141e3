import { createWriteStream } from 'node:fs';
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
import { ociArchive } from '../images/roots/save.ts';
import { places } from '../state/paths.ts';

/** How an image is saved. */
export interface SaveImageOptions extends CallOptions {
  onEvent?: ((event: ImportEvent) => void) | undefined;
}

/**
 * Writes an image as an OCI archive, which `importImage`, skopeo, podman and docker read.
 * @param target path of a file, which gets its name when it is whole and takes the place of one that is there; or a stream, which is ended
 * @throws {VmError} IMAGE_NOT_FOUND, INVALID_NAME; UNSUPPORTED for a disk; IMAGE_INVALID, IO, TIMEOUT, ABORTED
 */
export async function saveImage(
  name: string,
  target: string | Writable,
  options: SaveImageOptions = {},
): Promise<void> {
  const image = await findRoot(places().roots, name);
  if (image === undefined)
    throw new VmError('IMAGE_NOT_FOUND', `there is no image ${name}`, {
      advice: '`polyvisor image ls` lists the images; the default guest is none that could be saved.',
    });
  const { onEvent, ...limits } = options;
  const scope = callScope(`saving of ${name}`, limits);
  const { signal } = scope;
  const reader = new RangeReader();
  // A piece is valid until the next is asked for, and a stream asks ahead.
  const pieces = async function* (): AsyncGenerator<Buffer> {
    for await (const piece of ociArchive(image, reader, { signal, onEvent })) yield Buffer.from(piece);
  };
  try {
    const archive = Readable.from(pieces(), { objectMode: false, highWaterMark: 1 << 20 });
    if (typeof target === 'string') await intoFile(path.resolve(target), archive);
    else await pipeline(archive, target);
  } catch (error) {
    scope.throwIfEnded();
    throw VmError.from(error, 'IO', { operation: 'image save' });
  } finally {
    await reader[Symbol.asyncDispose]();
    scope.release();
  }
}

async function intoFile(file: string, archive: Readable): Promise<void> {
  const partial = path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    const made = await open(partial, 'wx', 0o644);
    await pipeline(archive, createWriteStream(partial, { fd: made, flush: true }));
    await rename(partial, file);
  } catch (cause) {
    await rm(partial, { force: true });
    throw VmError.from(cause, 'IO', { path: file });
  }
}
