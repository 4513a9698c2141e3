import { createHash } from 'node:crypto';
import { paddingOf } from '../../transports/tar/entry.ts';
import { TAR_TRAILER, tarHeaders } from '../../transports/tar/writer.ts';
import { VmError } from '../../errors.ts';
import { sha256 } from '../file-record.ts';
import { readErofs } from './erofs-read.ts';
import type { ImportEvent } from './import.ts';
import type { RangeReader } from './range-reader.ts';
import type { RootConfig, RootImage } from './root-image.ts';
import type { FolderNode } from './tree.ts';
import { treeArchive } from './tree-archive.ts';

/** How an image is saved: an OCI archive; a tar archive of its files alone, as `docker export` writes; or its file system, as a raw disk. */
export type SaveFormat = 'oci' | 'tar' | 'disk';

/** How an image is saved. */
export interface SaveOptions {
  signal?: AbortSignal | undefined;
  onEvent?: ((event: ImportEvent) => void) | undefined;
}

const pieceBytes = 1 << 20;

const types = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

/** As Go calls them. */
const architectures = { x86_64: 'amd64', aarch64: 'arm64' } as const;

/**
 * The files of an image, as they are saved in an archive.
 * @throws {VmError} UNSUPPORTED for a disk that was imported, whose files are not read here; IMAGE_INVALID, FILE_UNREADABLE, ABORTED
 */
export async function filesOf(image: RootImage, reader: RangeReader, { signal }: SaveOptions): Promise<FolderNode> {
  const { name, file, manifest } = image;
  const { type, size } = manifest.root;
  const advice = 'Save it as a disk (`--format disk`), or run it, and make an image of the VM by `polyvisor commit`.';
  if (type !== 'erofs')
    throw new VmError('UNSUPPORTED', `${name} is a disk with ${type}, whose files are not read here`, {
      path: file,
      advice,
    });
  try {
    return await readErofs({ file, offset: 0, size }, reader, signal);
  } catch (error) {
    const known = VmError.from(error);
    throw known.code === 'UNSUPPORTED' ? known.with({ advice }) : error;
  }
}

/**
 * The file system of an image as it is: a raw disk without partitions. A piece is valid until the next is asked for.
 * @throws {VmError} IMAGE_INVALID when it is not what was stored; FILE_UNREADABLE, ABORTED
 */
export async function* rawDisk(
  { name, file, manifest }: RootImage,
  reader: RangeReader,
  { signal, onEvent }: SaveOptions,
): AsyncGenerator<Buffer> {
  const { size, sha256: digest } = manifest.root;
  const hash = createHash('sha256');
  for (let done = 0; done < size;) {
    signal?.throwIfAborted();
    const piece = await reader.read(file, done, Math.min(pieceBytes, size - done));
    if (piece.length === 0) break;
    hash.update(piece);
    yield piece;
    done += piece.length;
    onEvent?.({ phase: 'write', message: `saving ${name}`, done, total: size });
  }
  if (hash.digest('hex') !== digest)
    throw new VmError('IMAGE_INVALID', `the file of ${name} is not what was stored`, { path: file });
}

/**
 * The files of an image as an OCI archive with one layer, which also is what `docker load` takes: equal images give equal bytes. They are read
 * twice, first for the digest of the layer; nothing is put anywhere meanwhile. A piece is valid until the next is asked for.
 * @throws {VmError} UNSUPPORTED for a name that no layer can hold; IMAGE_INVALID, FILE_UNREADABLE, ABORTED
 */
export async function* ociArchive(
  image: RootImage,
  tree: FolderNode,
  reader: RangeReader,
  { signal, onEvent }: SaveOptions,
): AsyncGenerator<Buffer> {
  const { name, manifest } = image;
  const { size } = manifest.root;
  const hash = createHash('sha256');
  let layerBytes = 0;
  for await (const piece of treeArchive(tree, reader, signal)) {
    hash.update(piece);
    layerBytes += piece.length;
    onEvent?.({ phase: 'layers', message: `reading ${name}`, done: Math.min(layerBytes, size), total: size });
  }
  const layer = { mediaType: types.layer, digest: `sha256:${hash.digest('hex')}`, size: layerBytes };
  const config = json(configOf(image, layer.digest));
  const described = json({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: { mediaType: types.config, digest: digestOf(config), size: config.length },
    layers: [layer],
  });
  const index = json({
    schemaVersion: 2,
    mediaType: types.index,
    manifests: [
      {
        mediaType: types.manifest,
        digest: digestOf(described),
        size: described.length,
        annotations: { 'org.opencontainers.image.ref.name': name },
        platform: { os: 'linux', architecture: architectures[manifest.architecture] },
      },
    ],
  });
  yield folder('blobs/');
  yield folder('blobs/sha256/');
  yield* small(blobName(digestOf(config)), config);
  yield* small(blobName(digestOf(described)), described);
  yield header(blobName(layer.digest), layerBytes);
  let done = 0;
  for await (const piece of treeArchive(tree, reader, signal)) {
    yield piece;
    done += piece.length;
    onEvent?.({ phase: 'write', message: `saving ${name}`, done, total: layerBytes });
  }
  yield Buffer.alloc(paddingOf(layerBytes));
  yield* small('oci-layout', json({ imageLayoutVersion: '1.0.0' }));
  yield* small('index.json', index);
  yield* small('manifest.json', json([dockerManifest(name, digestOf(config), layer.digest)]));
  yield TAR_TRAILER;
}

function configOf({ manifest }: RootImage, layer: string): unknown {
  const { architecture, stored, config } = manifest;
  return {
    created: stored,
    architecture: architectures[architecture],
    os: 'linux',
    config: shippedConfig(config),
    rootfs: { type: 'layers', diff_ids: [layer] },
    history: [{ created: stored, created_by: 'polyvisor image save' }],
  };
}

/** What is empty is left out: an empty list of words means something else to some. */
function shippedConfig({ entrypoint, cmd, env, user, workdir, labels }: RootConfig): Record<string, unknown> {
  return {
    ...(user === '' ? {} : { User: user }),
    ...(env.length === 0 ? {} : { Env: env }),
    ...(entrypoint.length === 0 ? {} : { Entrypoint: entrypoint }),
    ...(cmd.length === 0 ? {} : { Cmd: cmd }),
    ...(workdir === '' ? {} : { WorkingDir: workdir }),
    ...(Object.keys(labels).length === 0 ? {} : { Labels: labels }),
  };
}

/** What versions of Docker look for that know no layouts; it takes a tag in every name. */
function dockerManifest(name: string, config: string, layer: string): unknown {
  const tag = /:[^/]+$/.test(name) ? name : `${name}:latest`;
  return { Config: blobName(config), RepoTags: name.includes('@') ? null : [tag], Layers: [blobName(layer)] };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function digestOf(bytes: Buffer): string {
  return `sha256:${sha256(bytes)}`;
}

function blobName(digest: string): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}

function* small(name: string, bytes: Buffer): Generator<Buffer> {
  yield header(name, bytes.length);
  yield bytes;
  yield Buffer.alloc(paddingOf(bytes.length));
}

function header(name: string, size: number): Buffer {
  return tarHeaders({ ...plain, type: 'file', name: Buffer.from(name), mode: 0o644, size });
}

function folder(name: string): Buffer {
  return tarHeaders({ ...plain, type: 'folder', name: Buffer.from(name), mode: 0o755, size: 0 });
}

const plain = { link: Buffer.alloc(0), uid: 0, gid: 0, mtimeNs: 0n };
