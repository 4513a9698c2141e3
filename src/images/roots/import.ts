import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { GuestArch } from '../../config/host.ts';
import { VmError } from '../../errors.ts';
import { architectureOf } from '../host-architecture.ts';
import { type Contents, folderContents, tarContents } from './contents.ts';
import { type BackingFile, isDisk, takeDisk } from './disk.ts';
import { diskHeadBytes } from './disk-type.ts';
import { writeErofs, type WriteOptions } from './erofs.ts';
import { folderTree } from './folder-tree.ts';
import { folderXattrs } from './folder-xattrs.ts';
import { hostError } from './host-error.ts';
import { checkImageName, shortName } from './image-name.ts';
import { mergeLayers, type TreeLimits } from './layers.ts';
import { RangeReader } from './range-reader.ts';
import { emptyConfig, type RootConfig, type RootImage, type RootManifest, rootManifestVersion } from './root-image.ts';
import { storeRoot, withScratch } from './root-store.ts';
import { readOciLayout, readSaved, type ShippedImage } from './shipped.ts';
import { packingOf, readHead, spool } from './spool.ts';
import { folderAt, type FileRange, type FolderNode } from './tree.ts';

/** Progress of an import: `done` of `total` bytes, where they are known. */
export interface ImportEvent {
  /** `notice`: the message is worth knowing, such as what is left out */
  phase: 'read' | 'layers' | 'write' | 'notice' | 'done';
  message: string;
  done?: number;
  total?: number;
}

/** What an import is given. */
export interface ImportOptions {
  /** folder of the store; made when it isn't there */
  store: string;
  /**
   * an OCI layout (folder or archive), what `docker save` wrote, a tar archive of a root file system, a folder that is one, or a disk with
   * ext4, squashfs or erofs, raw or qcow2
   */
  source: string;
  /** name of the image; by default the one that it has in the source, else made of the source's file name */
  name?: string | undefined;
  /** the image meant, when the source holds several; of a disk the number of its partition */
  ref?: string | undefined;
  /** whose programs are in it, and which image of a source for several is meant; default: this host's */
  arch?: GuestArch | undefined;
  /** the file that a qcow2 disk builds on; refused unless it is named here */
  backing?: BackingFile | undefined;
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

/** What is to be stored, a tree or a disk's file system as it is, and what is known of it beside. */
type Found = ({ tree: FolderNode } | { tree: undefined; disk: FileRange }) & {
  config: RootConfig;
  name: string | undefined;
  identity: string;
};

/** What the steps of one import share. */
interface Scope {
  reader: RangeReader;
  scratch: string;
  limits: TreeLimits;
  options: ImportOptions;
  report: (event: ImportEvent) => void;
}

/**
 * Makes a root image of what was shipped, as one read-only EROFS file system, without root and without a program of the host; of a disk its
 * file system is taken as it is. Equal
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
      const config = { ...found.config, ...options.config };
      report({ phase: 'write', message: `writing ${name}` });
      const made = path.join(scratch, 'root');
      const onProgress = (done: number, total: number): void =>
        report({ phase: 'write', message: `writing ${name}`, done, total });
      const root =
        found.tree === undefined
          ? await takeDisk(found.disk, made, { ...options, reader, scratch, maxBytes, onProgress })
          : await writeTree(found.tree, { made, source, config, reader, signal, onProgress });
      signal?.throwIfAborted();
      const image = await storeRoot(
        store,
        made,
        {
          schemaVersion: rootManifestVersion,
          name,
          architecture: architectureOf(options.arch).linux,
          root,
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
  const xattrs = await folderXattrs(source, scope.scratch, scope.options.signal);
  if (xattrs === undefined)
    scope.report({
      phase: 'notice',
      message: `extended attributes of ${source}, capabilities among them, are left out: this host has no getfattr (package attr)`,
    });
  const tree = await folderTree(source, scope.limits, scope.options.signal, xattrs);
  return { tree, config: emptyConfig, name: undefined, identity: path.basename(source) };
}

async function fromFile(source: string, scope: Scope): Promise<Found> {
  scope.report({ phase: 'read', message: `reading ${source}` });
  const archive = await unpacked(source, scope);
  const head = await readHead(archive, diskHeadBytes);
  if (!looksLikeTar(head)) {
    if (isDisk(head))
      return { tree: undefined, disk: archive, config: emptyConfig, name: undefined, identity: path.basename(source) };
    throw new VmError('IMAGE_INVALID', `${source} is no tar archive, and no disk that a guest could mount`, {
      path: source,
      advice: 'An image is a folder, a tar archive, or a disk with ext4, squashfs or erofs, raw or qcow2.',
    });
  }
  if (scope.options.backing !== undefined)
    throw new VmError('INVALID_ARGUMENT', `${source} is no disk that could build on another`, { field: 'backing' });
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
    return readOciLayout(contents, reader, options);
  if ((await contents.find('manifest.json')) !== undefined) return readSaved(contents, reader, options);
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

/** @throws {VmError} IMAGE_INVALID when it holds nothing; as `writeErofs` does */
async function writeTree(
  tree: FolderNode,
  to: { made: string; source: string; config: RootConfig; reader: RangeReader } & WriteOptions,
): Promise<RootManifest['root']> {
  const { made, source, config, reader, ...options } = to;
  if (tree.children.size === 0) throw new VmError('IMAGE_INVALID', `there are no files in ${source}`, { path: source });
  makeWorkdir(tree, config);
  return { ...(await writeErofs(tree, made, reader, options)), type: 'erofs' };
}

/** A container's runtime makes the working folder when it is missing. */
function makeWorkdir(tree: FolderNode, { workdir }: RootConfig): void {
  if (workdir === '') return;
  const names = workdir.split('/').filter((name) => name !== '' && name !== '.');
  folderAt(tree, names, 0);
}

/** The first header's checksum is looked at later: this tells a wrong file from a damaged archive. An empty archive is zeros. */
function looksLikeTar(head: Buffer): boolean {
  if (head.toString('latin1', 257, 262) === 'ustar') return true;
  return !isDisk(head) && /^[0-7 \0]{0,8}$/.test(head.toString('latin1', 148, 156));
}

function nameOfFile(source: string): string {
  return path
    .basename(source)
    .replace(/(?:\.(?:tar|tgz|oci|gz|zst|img|raw|qcow2|ext4|squashfs|erofs))+$/, '')
    .toLowerCase();
}
