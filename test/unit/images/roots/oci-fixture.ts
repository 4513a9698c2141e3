import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { hostArchitecture } from '../../../../src/images/host-architecture.ts';
import { archive, forge, type Forged } from '../../../fakes/tar.ts';

export const own: string = hostArchitecture().debian;

export const types = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** An image to be made; each part may be wrong. */
export interface Made {
  layers: Buffer[];
  /** how each layer is packed; by default by gzip */
  pack?: (layer: Buffer) => Buffer;
  layerType?: string;
  configType?: string;
  manifestType?: string;
  architecture?: string;
  os?: string;
  config?: Record<string, unknown>;
  names?: string[];
  diffIds?: string[];
}

/** An OCI layout as files by name. */
export function layout(made: Made): Map<string, Buffer> {
  const files = new Map<string, Buffer>([['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')]]);
  const blob = (bytes: Buffer, mediaType: string): Record<string, unknown> => {
    const digest = digestOf(bytes);
    files.set(`blobs/sha256/${digest.slice(7)}`, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const json = (value: unknown, mediaType: string): Record<string, unknown> =>
    blob(Buffer.from(JSON.stringify(value)), mediaType);
  const pack = made.pack ?? ((layer: Buffer): Buffer => gzipSync(layer));
  const config = {
    os: made.os ?? 'linux',
    architecture: made.architecture ?? own,
    config: made.config ?? {},
    rootfs: { type: 'layers', diff_ids: made.diffIds ?? made.layers.map(digestOf) },
  };
  const manifest = json(
    {
      schemaVersion: 2,
      config: json(config, made.configType ?? types.config),
      layers: made.layers.map((layer) => blob(pack(layer), made.layerType ?? `${types.layer}+gzip`)),
    },
    made.manifestType ?? types.manifest,
  );
  const named = (made.names ?? ['app:1']).map((name) => ({
    ...manifest,
    annotations: { 'org.opencontainers.image.ref.name': name },
  }));
  files.set('index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: named })));
  return files;
}

/** What `docker save` writes. */
export function saved(made: Made): Map<string, Buffer> {
  const config = Buffer.from(
    JSON.stringify({
      os: 'linux',
      architecture: own,
      config: made.config ?? {},
      rootfs: { type: 'layers', diff_ids: made.diffIds ?? made.layers.map(digestOf) },
    }),
  );
  const name = `${digestOf(config).slice(7)}.json`;
  const layers = made.layers.map((layer, at) => [`layer${at}/layer.tar`, layer] as const);
  const manifest = [{ Config: name, RepoTags: made.names ?? ['app:1'], Layers: layers.map(([file]) => file) }];
  return new Map([[name, config], ...layers, ['manifest.json', Buffer.from(JSON.stringify(manifest))]]);
}

/** Files as a tar archive. */
export function asTar(files: ReadonlyMap<string, Buffer>): Buffer {
  return archive(...[...files].map(([name, body]): Forged => ({ name, body })));
}

/** Files as a folder. */
export function asFolder(files: ReadonlyMap<string, Buffer>, folder: string): string {
  for (const [name, body] of files) {
    mkdirSync(path.join(folder, path.dirname(name)), { recursive: true });
    writeFileSync(path.join(folder, name), body);
  }
  return folder;
}

/** A name too long for a header, in GNU tar's way. */
export function longName(name: string, entry: Omit<Forged, 'name'>): Buffer {
  return Buffer.concat([
    forge({ name: '././@LongLink', type: 'L', body: `${name}\0` }),
    forge({ ...entry, name: name.slice(0, 100) }),
  ]);
}
