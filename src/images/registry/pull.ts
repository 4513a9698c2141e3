import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import type { GuestArch } from '../../config/host.ts';
import { VmError } from '../../errors.ts';
import { sha256 } from '../file-record.ts';
import { checkImageName, shortName } from '../roots/image-name.ts';
import { type ImportEvent, importRoot } from '../roots/import.ts';
import {
  checkMediaType,
  type Descriptor,
  indexSchema,
  manifestSchema,
  mediaTypes,
  parseAs,
} from '../roots/oci-schema.ts';
import type { RootImage } from '../roots/root-image.ts';
import { listRoots, nameRoot, withScratch } from '../roots/root-store.ts';
import { choosePlatform } from '../roots/shipped.ts';
import { RegistryClient } from './client.ts';
import { type Credentials, storedCredentials } from './credentials.ts';
import { failed, networkError, readBody, type Reply } from './http.ts';
import { parseReference, type Reference } from './reference.ts';

/** How an image is pulled. */
export interface PullOptions extends CallOptions {
  /** folder of the store; made when it isn't there */
  store: string;
  /** `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` */
  reference: string;
  /** name of the image; by default the reference */
  name?: string | undefined;
  /** whose programs; default: this host's */
  arch?: GuestArch | undefined;
  /** who asks; by default what `docker login` has written down */
  credentials?: Credentials | undefined;
  /** bytes of all files at most; default 64 GiB */
  maxBytes?: number | undefined;
  /** milliseconds without a byte after which the registry is given up; default 60,000 */
  idleMs?: number | undefined;
  onEvent?: ((event: ImportEvent) => void) | undefined;
}

const defaultIdleMs = 60_000;
const defaultMaxBytes = 64 * 2 ** 30;
const maxManifestBytes = 4 << 20;

/**
 * Gets an image from a registry, unless the very same is in the store. By HTTPS, except from this host. Nothing half-made is left.
 * @throws {VmError} IMAGE_PULL_FAILED when the registry is not reachable, refuses, or breaks off; IMAGE_NOT_FOUND; what {@link importRoot} throws; TIMEOUT
 */
export async function pullRoot(options: PullOptions): Promise<RootImage> {
  const { store, onEvent = () => undefined, maxBytes = defaultMaxBytes, idleMs = defaultIdleMs } = options;
  const reference = parseReference(options.reference);
  const name = checkImageName(options.name ?? shortName(options.reference));
  const scope = callScope('pull of the image', options);
  try {
    const { signal } = scope;
    const credentials = options.credentials ?? (await storedCredentials(reference.registry));
    const client = new RegistryClient(reference, { credentials, signal, idleMs });
    onEvent({ phase: 'read', message: `asking ${reference.registry}` });
    const { descriptor, bytes } = await findManifest(client, reference, options.arch);
    const known = (await listRoots(store)).filter(({ manifest }) => manifest.source === descriptor.digest);
    const same = known.find((image) => image.name === name) ?? known[0];
    if (same !== undefined) return await nameRoot(store, { ...same.manifest, name }, { signal });
    return await withScratch(store, async (scratch) => {
      const blobs = path.join(scratch, 'blobs', 'sha256');
      await mkdir(blobs, { recursive: true });
      await writeFile(path.join(blobs, descriptor.digest.slice('sha256:'.length)), bytes);
      const manifest = parseAs(manifestSchema, bytes, "the image's manifest");
      await fetchBlobs(client, blobs, [manifest.config, ...manifest.layers], { maxBytes, signal, onEvent });
      await writeFile(path.join(scratch, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
      await writeFile(path.join(scratch, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }));
      return importRoot({ store, source: scratch, name, arch: options.arch, maxBytes, signal, onEvent });
    });
  } catch (reason) {
    throw VmError.from(reason, 'IMAGE_PULL_FAILED', { operation: 'image pull' });
  } finally {
    scope.release();
  }
}

/** The manifest for this host, or another architecture; the digest is the one that was asked for, or the one that the tag has now. */
async function findManifest(
  client: RegistryClient,
  reference: Reference,
  arch: GuestArch | undefined,
): Promise<{ descriptor: Descriptor; bytes: Buffer }> {
  const first = await fetchManifest(client, reference.digest ?? reference.tag, reference.digest);
  if (!mediaTypes.index.includes(first.descriptor.mediaType)) return checkedManifest(first);
  const { digest } = choosePlatform(parseAs(indexSchema, first.bytes, 'the index').manifests, arch);
  return checkedManifest(await fetchManifest(client, digest, digest));
}

function checkedManifest<T extends { descriptor: Descriptor }>(found: T): T {
  checkMediaType('manifest', found.descriptor.mediaType);
  return found;
}

async function fetchManifest(
  client: RegistryClient,
  id: string,
  wanted: string | undefined,
): Promise<{ descriptor: Descriptor; bytes: Buffer }> {
  const reply = await client.get('manifests', id, [...mediaTypes.manifest, ...mediaTypes.index]);
  const bytes = await readBody(reply, maxManifestBytes);
  const digest = `sha256:${sha256(bytes)}`;
  const said = reply.headers['docker-content-digest'];
  for (const it of [wanted, typeof said === 'string' && said.startsWith('sha256:') ? said : undefined])
    if (it !== undefined && it !== digest)
      throw new VmError('IMAGE_INVALID', `the manifest has the digest ${digest}, not ${it.slice(0, 80)}`);
  const mediaType = (reply.headers['content-type'] ?? '').replace(/;.*$/, '').trim();
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes };
}

async function fetchBlobs(
  client: RegistryClient,
  folder: string,
  blobs: readonly Descriptor[],
  options: { maxBytes: number; signal: AbortSignal; onEvent: (event: ImportEvent) => void },
): Promise<void> {
  const total = blobs.reduce((sum, { size }) => sum + size, 0);
  if (total > options.maxBytes)
    throw new VmError('IMAGE_INVALID', `the image has ${total} bytes, packed; ${options.maxBytes} are allowed`, {
      advice: 'Allow more with `maxBytes` (`--max-size`), if you trust whoever made it.',
    });
  let done = 0;
  for (const { digest, size } of new Map(blobs.map((blob) => [blob.digest, blob])).values()) {
    if (!/^sha256:[0-9a-f]{64}$/.test(digest))
      throw new VmError(
        'UNSUPPORTED',
        `the image has the digest ${JSON.stringify(digest.slice(0, 80))}, which is no SHA-256`,
      );
    const reply = await client.get('blobs', digest);
    await saveBlob(
      reply,
      path.join(folder, digest.slice('sha256:'.length)),
      size,
      (bytes) => {
        done += bytes;
        options.onEvent({ phase: 'layers', message: 'pulling', done, total });
      },
      options.signal,
    );
  }
}

/** Its digest is looked at when it is unpacked. */
async function saveBlob(
  { body, url }: Reply,
  file: string,
  size: number,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  let left = size;
  const bounded = new Transform({
    transform(piece: Buffer, _, done) {
      left -= piece.length;
      onBytes(piece.length);
      done(left < 0 ? failed(url, `sends more than the ${size} bytes that it said`) : null, piece);
    },
  });
  try {
    await pipeline(body, bounded, createWriteStream(file, { flags: 'wx', mode: 0o600 }), { signal });
  } catch (cause) {
    const { code, message, syscall } = cause as NodeJS.ErrnoException;
    if (syscall === 'write' || syscall === 'open')
      throw new VmError('IO', `cannot write ${file}: ${message}`, { path: file, errno: code, cause });
    throw networkError(url, cause);
  }
  if (left > 0) throw failed(url, `sends ${size - left} bytes of ${size}`);
}
