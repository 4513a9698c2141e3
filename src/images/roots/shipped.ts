import { VmError } from '../../errors.ts';
import type { GuestArch } from '../../config/host.ts';
import { architectureOf } from '../host-architecture.ts';
import { sha256 } from '../file-record.ts';
import { type Contents, readJson } from './contents.ts';
import {
  checkMediaType,
  configSchema,
  type Descriptor,
  type ImageConfig,
  indexSchema,
  manifestSchema,
  mediaTypes,
  parseAs,
  rootConfigOf,
  savedSchema,
} from './oci-schema.ts';
import type { RangeReader } from './range-reader.ts';
import type { RootConfig } from './root-image.ts';
import type { FileRange } from './tree.ts';

/** A layer as it was shipped, packed or not. */
export interface ShippedLayer {
  data: FileRange;
  /** SHA-256 (hex) of the bytes as they are */
  sha256?: string | undefined;
  /** SHA-256 (hex) of what they unpack to */
  unpackedSha256?: string | undefined;
}

/** Which image of a source is meant. */
export interface WantedImage {
  /** when it holds several: a tag, a name or a digest */
  ref?: string | undefined;
  /** whose programs; default: this host's */
  arch?: GuestArch | undefined;
}

/** An image as it was shipped, its descriptions verified; its layers are not yet. */
export interface ShippedImage {
  layers: ShippedLayer[];
  config: RootConfig;
  /** the name that it has there, if any */
  name: string | undefined;
  /** what identifies it: the digest of its manifest or configuration */
  identity: string;
}

const refName = 'org.opencontainers.image.ref.name';
/** containerd and Docker put the full name here, and the tag alone into the other one. */
const fullName = 'io.containerd.image.name';
/** An index may hold an index; nobody nests more. */
const maxIndexDepth = 4;

/**
 * Reads an OCI layout.
 * @throws {VmError} IMAGE_INVALID, UNSUPPORTED for an unknown media type or another platform, INVALID_ARGUMENT when `ref` doesn't tell
 */
export async function readOciLayout(
  contents: Contents,
  reader: RangeReader,
  { ref, arch }: WantedImage = {},
): Promise<ShippedImage> {
  const bytes = await needed(contents, reader, 'index.json');
  const chosen = chooseNamed(parseAs(indexSchema, bytes, 'index.json').manifests, ref, arch);
  let descriptor = chosen;
  for (let depth = 0; mediaTypes.index.includes(descriptor.mediaType); depth++) {
    if (depth === maxIndexDepth) throw new VmError('IMAGE_INVALID', 'the image has indexes in indexes without an end');
    const index = parseAs(indexSchema, await readBlob(contents, reader, descriptor), 'an index of the image');
    descriptor = choosePlatform(index.manifests, arch);
  }
  checkMediaType('manifest', descriptor.mediaType);
  const manifest = parseAs(manifestSchema, await readBlob(contents, reader, descriptor), "the image's manifest");
  return readManifest(contents, reader, manifest, {
    name: chosen.annotations?.[fullName] ?? chosen.annotations?.[refName],
    identity: descriptor.digest,
    arch,
  });
}

async function readManifest(
  contents: Contents,
  reader: RangeReader,
  manifest: { config: Descriptor; layers: Descriptor[] },
  { arch, ...facts }: { name: string | undefined; identity: string; arch: GuestArch | undefined },
): Promise<ShippedImage> {
  checkMediaType('config', manifest.config.mediaType);
  const config = parseAs(configSchema, await readBlob(contents, reader, manifest.config), "the image's configuration");
  checkPlatform(config, arch);
  const ids = config.rootfs?.diff_ids ?? [];
  if (ids.length !== manifest.layers.length)
    throw new VmError(
      'IMAGE_INVALID',
      `the image has ${manifest.layers.length} layers, its configuration ${ids.length}`,
    );
  const layers: ShippedLayer[] = [];
  for (const [at, layer] of manifest.layers.entries()) {
    checkMediaType('layer', layer.mediaType);
    const data = await findBlob(contents, layer);
    layers.push({ data, sha256: hexOf(layer.digest), unpackedSha256: hexOf(ids[at] ?? '') });
  }
  return { layers, config: rootConfigOf(config), ...facts };
}

/**
 * Reads what `docker save` and `podman save` write: `manifest.json` beside configurations and layers.
 * @throws {VmError} as `readOciLayout` does
 */
export async function readSaved(
  contents: Contents,
  reader: RangeReader,
  { ref, arch }: WantedImage = {},
): Promise<ShippedImage> {
  const images = parseAs(savedSchema, await needed(contents, reader, 'manifest.json'), 'manifest.json');
  const meant = ref === undefined ? images : images.filter(({ RepoTags }) => RepoTags?.includes(ref) === true);
  const [image, ...others] = meant;
  const names = images.flatMap(({ RepoTags }) => RepoTags ?? []);
  if (image === undefined) throw noSuch(contents, ref, names);
  if (others.length > 0) throw severalImages(contents, names);
  const bytes = await needed(contents, reader, image.Config);
  const config = parseAs(configSchema, bytes, "the image's configuration");
  const identity = sha256(bytes);
  // Its name is its digest in every version of Docker; a name that is none says nothing.
  const said = /([0-9a-f]{64})(?:\.json)?$/.exec(image.Config)?.[1];
  if (said !== undefined && said !== identity)
    throw new VmError(
      'IMAGE_INVALID',
      `the image's configuration has the digest sha256:${identity}, not sha256:${said}`,
    );
  checkPlatform(config, arch);
  const ids = config.rootfs?.diff_ids ?? [];
  if (ids.length !== image.Layers.length)
    throw new VmError('IMAGE_INVALID', `the image has ${image.Layers.length} layers, its configuration ${ids.length}`);
  const layers: ShippedLayer[] = [];
  for (const [at, name] of image.Layers.entries()) {
    const data = await contents.find(name);
    if (data === undefined) throw missingFile(contents, name);
    layers.push({ data, unpackedSha256: hexOf(ids[at] ?? '') });
  }
  return { layers, config: rootConfigOf(config), name: image.RepoTags?.[0], identity: `sha256:${identity}` };
}

/** OCI has Go's names, which are Debian's for all that we run on. */
function ociArchitecture(arch: GuestArch | undefined): string {
  return architectureOf(arch).debian;
}

/** Of the manifests of a layout the one that is meant: by name if one is given, else by platform. */
function chooseNamed(
  manifests: readonly Descriptor[],
  ref: string | undefined,
  arch: GuestArch | undefined,
): Descriptor {
  const namesOf = ({ annotations, digest }: Descriptor): string[] =>
    [annotations?.[refName], annotations?.[fullName], digest].filter((name) => name !== undefined);
  const meant = ref === undefined ? manifests : manifests.filter((it) => namesOf(it).includes(ref));
  if (meant.length === 0) throw noSuch(undefined, ref, manifests.flatMap(namesOf));
  const images = new Set(meant.map((it) => namesOf(it)[0]));
  const [first] = meant;
  if (meant.length === 1 && first !== undefined) return first;
  // One name for several platforms, and no name at all, are one image.
  if (images.size === 1 || meant.every(({ annotations }) => annotations?.[refName] === undefined))
    return choosePlatform(meant, arch);
  throw severalImages(
    undefined,
    [...images].filter((name) => name !== undefined),
  );
}

/** @param arch default: this host's @throws {VmError} UNSUPPORTED when none is for it */
export function choosePlatform(manifests: readonly Descriptor[], arch: GuestArch | undefined): Descriptor {
  const own = ociArchitecture(arch);
  const found = manifests.find(({ platform }) => platform?.os === 'linux' && platform.architecture === own);
  if (found !== undefined) return found;
  const there = manifests.flatMap(({ platform }) => (platform ? [`${platform.os}/${platform.architecture}`] : []));
  throw otherPlatform(there.join(', ') || 'no platform that it names', own);
}

function checkPlatform({ os = 'linux', architecture = '' }: ImageConfig, arch: GuestArch | undefined): void {
  const own = ociArchitecture(arch);
  if (os !== 'linux' || (architecture !== '' && architecture !== own))
    throw otherPlatform(`${os}/${architecture}`, own);
}

function otherPlatform(there: string, own: string): VmError {
  return new VmError('UNSUPPORTED', `the image is for ${there}, not for linux/${own}`, {
    advice: `Get the image for linux/${own}.`,
  });
}

async function readBlob(contents: Contents, reader: RangeReader, descriptor: Descriptor): Promise<Buffer> {
  await findBlob(contents, descriptor);
  const bytes = await needed(contents, reader, blobName(descriptor.digest));
  const found = sha256(bytes);
  if (`sha256:${found}` !== descriptor.digest)
    throw new VmError('IMAGE_INVALID', `a part of the image has the digest sha256:${found}, not ${descriptor.digest}`);
  return bytes;
}

async function findBlob(contents: Contents, { digest, size }: Descriptor): Promise<FileRange> {
  const found = await contents.find(blobName(digest));
  if (found === undefined) throw missingFile(contents, digest);
  if (found.size !== size)
    throw new VmError('IMAGE_INVALID', `${digest} has ${found.size} bytes, not ${size}`, { path: contents.source });
  return found;
}

function blobName(digest: string): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function hexOf(digest: string): string {
  const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
  if (hex !== undefined) return hex;
  throw new VmError('UNSUPPORTED', `the image has the digest ${JSON.stringify(digest)}, which is no SHA-256`);
}

async function needed(contents: Contents, reader: RangeReader, name: string): Promise<Buffer> {
  const bytes = await readJson(contents, reader, name);
  if (bytes === undefined) throw missingFile(contents, name);
  return bytes;
}

function missingFile({ source }: Contents, name: string): VmError {
  return new VmError('IMAGE_INVALID', `${name} is missing in ${source}`, { path: source });
}

function noSuch(contents: Contents | undefined, ref: string | undefined, names: readonly string[]): VmError {
  if (ref === undefined) return new VmError('IMAGE_INVALID', 'there is no image in it', { path: contents?.source });
  return new VmError('INVALID_ARGUMENT', `there is no image ${ref} in it`, {
    path: contents?.source,
    advice: names.length === 0 ? 'Its images have no names.' : `There are: ${names.slice(0, 20).join(', ')}.`,
  });
}

function severalImages(contents: Contents | undefined, names: readonly string[]): VmError {
  return new VmError('INVALID_ARGUMENT', 'there are several images in it', {
    path: contents?.source,
    advice: `Say which (\`--ref\`): ${names.slice(0, 20).join(', ')}.`,
  });
}
