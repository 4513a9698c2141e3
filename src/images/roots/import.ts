import { stat } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { hostArchitecture } from '../host-architecture.ts';
import { type Contents, folderContents, tarContents } from './contents.ts';
import { writeErofs } from './erofs.ts';
import { folderTree } from './folder-tree.ts';
import { hostError } from './host-error.ts';
import { checkImageName, shortName } from './image-name.ts';
import { mergeLayers, type TreeLimits } from './layers.ts';
import { RangeReader } from './range-reader.ts';
import { emptyConfig, type RootConfig, type RootImage, rootManifestVersion } from './root-image.ts';
import { storeRoot, withScratch } from './root-store.ts';
import { readOciLayout, readSaved, type ShippedImage } from './shipped.ts';
import { packingOf, readHead, spool } from './spool.ts';
import { folderAt, type FileRange, type FolderNode } from './tree.ts';

/** Progress of an import: `done` of `total` bytes, where they are known. */
export interface ImportEvent {
  phase: 'read' | 'layers' | 'write' | 'done';
  message: string;
  done?: number;
  total?: number;
}

/** What an import is given. */
export interface ImportOptions {
  /** folder of the store; made when it isn't there */
  store: string;
  /** an OCI layout (folder or archive), what `docker save` wrote, a tar archive of a root file system, or a folder that is one */
  source: string;
  /** name of the image; by default the one that it has in the source, else made of the source's file name */
  name?: string | undefined;
  /** the image meant, when the source holds several */
  ref?: string | undefined;
  /** take an archive or a folder for a root file system, whatever files it holds; default false */
  asRoot?: boolean | undefined;
  /** what the image says of its commands, where that is to differ from what the source says */
  config?: Partial<RootConfig> | undefined;
  /** bytes of all files at most; default 64 GiB */
  maxBytes?: number | undefined;
  /** what it was made of, for whoever looks at it; default: the source's digest or its name */
  identity?: string | undefined;
  onEvent?: ((event: ImportEvent) => void) | undefined;
  signal?: AbortSignal | undefined;
}

const defaultMaxBytes = 64 * 2 ** 30;
/** Each costs some hundred bytes of memory while an image is made. */
const maxEntries = 1_000_000;

/** A tree to be stored, and what is known of it beside. */
interface Found {
  tree: FolderNode;
  config: RootConfig;
  name: string | undefined;
  identity: string;
}

/** What the steps of one import share. */
interface Scope {
  reader: RangeReader;
  scratch: string;
  limits: TreeLimits;
  options: ImportOptions;
  report: (event: ImportEvent) => void;
}

/**
 * Makes a root image of what was shipped, as one read-only EROFS file system, without root and without a program of the host. Equal
 * sources give equal bytes, which are stored once. Whatever ends it, nothing half-made is left.
 * @throws {VmError} IMAGE_INVALID for what is damaged, of a wrong digest or hostile; UNSUPPORTED for unknown media types and other platforms;
 *   FILE_NOT_FOUND, FILE_UNREADABLE, INVALID_NAME, INVALID_ARGUMENT, HOST_MISSING without zstd on Node 20; IO when no space is left; ABORTED
 */
export async function importRoot(options: ImportOptions): Promise<RootImage> {
  const { store, signal, maxBytes = defaultMaxBytes } = options;
  if (options.name !== undefined) checkImageName(options.name);
  if (!Number.isSafeInteger(maxBytes) || maxBytes < 1)
    throw new VmError('INVALID_ARGUMENT', 'maxBytes must be a whole number of bytes from 1 on', { field: 'maxBytes' });
  const source = path.resolve(options.source);
  const report = (event: ImportEvent): void => options.onEvent?.(event);
  const reader = new RangeReader();
  try {
    const isFolder = await stat(source).then(
      (found) => found.isDirectory(),
      (cause: unknown) => {
        throw hostError(source, cause);
      },
    );
    return await withScratch(store, async (scratch) => {
      const scope: Scope = { reader, scratch, limits: { entries: maxEntries, bytes: maxBytes }, options, report };
      const found = isFolder ? await fromFolder(source, scope) : await fromFile(source, scope);
      const name = checkImageName(
        options.name ?? (found.name === undefined ? nameOfFile(source) : shortName(found.name)),
      );
      if (found.tree.children.size === 0)
        throw new VmError('IMAGE_INVALID', `there are no files in ${source}`, { path: source });
      const config = { ...found.config, ...options.config };
      makeWorkdir(found.tree, config);
      report({ phase: 'write', message: `writing ${name}` });
      const made = path.join(scratch, 'root.erofs');
      const record = await writeErofs(found.tree, made, reader, {
        signal,
        onProgress: (done, total) => report({ phase: 'write', message: `writing ${name}`, done, total }),
      });
      signal?.throwIfAborted();
      const image = await storeRoot(
        store,
        made,
        {
          schemaVersion: rootManifestVersion,
          name,
          architecture: hostArchitecture().linux,
          root: { ...record, type: 'erofs' },
          config,
          source: options.identity ?? found.identity,
          stored: new Date().toISOString(),
        },
        { signal },
      );
      report({ phase: 'done', message: image.name });
      return image;
    });
  } catch (reason) {
    if (signal?.aborted === true && !(reason instanceof VmError)) throw VmError.from(reason, 'ABORTED');
    throw VmError.from(reason, 'INTERNAL', { operation: 'image import' });
  } finally {
    await reader[Symbol.asyncDispose]();
  }
}

async function fromFolder(source: string, scope: Scope): Promise<Found> {
  scope.report({ phase: 'read', message: `reading ${source}` });
  const contents = folderContents(source);
  const shipped = await shippedIn(contents, scope);
  if (shipped !== undefined) return merged(shipped, scope);
  const tree = await folderTree(source, scope.limits, scope.options.signal);
  return { tree, config: emptyConfig, name: undefined, identity: path.basename(source) };
}

async function fromFile(source: string, scope: Scope): Promise<Found> {
  scope.report({ phase: 'read', message: `reading ${source}` });
  const archive = await unpacked(source, scope);
  if (!looksLikeTar(await readHead(archive, 512)))
    throw new VmError('IMAGE_INVALID', `${source} is no tar archive`, {
      path: source,
      advice: 'An image is a folder or a tar archive; a disk is booted by its path: `--image /path/to/disk`.',
    });
  const contents = await tarContents(scope.reader, archive, source, scope.options.signal);
  const shipped = await shippedIn(contents, scope);
  if (shipped !== undefined) return merged(shipped, scope);
  const limits = { ...scope.limits, plainNames: scope.options.asRoot };
  const tree = await mergeLayers(scope.reader, [archive], limits, scope.options.signal);
  return { tree, config: emptyConfig, name: undefined, identity: path.basename(source) };
}

async function unpacked(source: string, { scratch, options, limits }: Scope): Promise<FileRange> {
  const { size } = await stat(source).catch((cause: unknown) => {
    throw hostError(source, cause);
  });
  const whole = { file: source, offset: 0, size };
  if (packingOf(await readHead(whole, 8)) === 'none') return whole;
  return spool(whole, path.join(scratch, 'archive'), { maxBytes: archiveBytes(limits), signal: options.signal });
}

/** An archive is larger than what it holds: headers and padding, a KiB for a file. */
function archiveBytes({ bytes, entries }: TreeLimits): number {
  return bytes + entries * 1024;
}

/** The image in an OCI layout or of `docker save`; undefined when it is neither. One that is both is read as what has digests. */
async function shippedIn(contents: Contents, { reader, options }: Scope): Promise<ShippedImage | undefined> {
  if (options.asRoot === true) return noNames(contents, options);
  if ((await contents.find('oci-layout')) !== undefined && (await contents.find('index.json')) !== undefined)
    return readOciLayout(contents, reader, options.ref);
  if ((await contents.find('manifest.json')) !== undefined) return readSaved(contents, reader, options.ref);
  return noNames(contents, options);
}

function noNames(contents: Contents, { ref }: ImportOptions): undefined {
  if (ref === undefined) return undefined;
  throw new VmError('INVALID_ARGUMENT', `${contents.source} holds one root file system and no names`, { field: 'ref' });
}

async function merged(shipped: ShippedImage, scope: Scope): Promise<Found> {
  const { reader, scratch, limits, options, report } = scope;
  const layers: FileRange[] = [];
  const total = shipped.layers.reduce((sum, { data }) => sum + data.size, 0);
  let done = 0;
  for (const [at, { data, ...digests }] of shipped.layers.entries()) {
    const message = `unpacking layer ${at + 1} of ${shipped.layers.length}`;
    report({ phase: 'layers', message, done, total });
    const onRead = (bytes: number): void => report({ phase: 'layers', message, done: (done += bytes), total });
    const target = path.join(scratch, `layer-${at}`);
    layers.push(
      await spool(data, target, { ...digests, maxBytes: archiveBytes(limits), signal: options.signal, onRead }),
    );
  }
  const tree = await mergeLayers(reader, layers, { ...limits, openEnd: true }, options.signal);
  return { tree, config: shipped.config, name: shipped.name, identity: shipped.identity };
}

/** A container's runtime makes the working folder when it is missing. */
function makeWorkdir(tree: FolderNode, { workdir }: RootConfig): void {
  if (workdir === '') return;
  const names = workdir.split('/').filter((name) => name !== '' && name !== '.');
  folderAt(tree, names, 0);
}

/** The first header's checksum is looked at later: this tells a wrong file from a damaged archive. An empty archive is zeros. */
function looksLikeTar(head: Buffer): boolean {
  return (
    head.toString('latin1', 257, 262) === 'ustar' ||
    head.every((byte) => byte === 0) ||
    /^[0-7 \0]{8}$/.test(head.toString('latin1', 148, 156))
  );
}

function nameOfFile(source: string): string {
  return path
    .basename(source)
    .replace(/(?:\.(?:tar|tgz|oci|gz|zst))+$/, '')
    .toLowerCase();
}
