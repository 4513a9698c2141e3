import * as z from 'zod';
import { VmError } from '../../errors.ts';
import { emptyConfig, type RootConfig } from './root-image.ts';

/*
 * What images are described by: the OCI image specification (image-layout.md, manifest.md, config.md) and, where Docker says the same in
 * other words, its image manifest version 2, schema 2, and the files of `docker save`.
 */

/** What stands for a part of an image: what it is, and how its content is known. */
export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  platform?: { os: string; architecture: string } | undefined;
  annotations?: Record<string, string> | null | undefined;
}

/** The configuration of an image, as far as it is read. */
export interface ImageConfig {
  os?: string | undefined;
  architecture?: string | undefined;
  config?: CommandConfig | null | undefined;
  rootfs?: { diff_ids: string[] } | undefined;
}

interface CommandConfig {
  Entrypoint?: string[] | null | undefined;
  Cmd?: string[] | null | undefined;
  Env?: string[] | null | undefined;
  User?: string | null | undefined;
  WorkingDir?: string | null | undefined;
  Labels?: Record<string, string> | null | undefined;
}

/** An image in `manifest.json` of `docker save`. */
interface SavedImage {
  Config: string;
  RepoTags?: string[] | null | undefined;
  Layers: string[];
}

const digest = z.string().regex(/^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]{1,256}$/);
const platform = z.looseObject({ os: z.string(), architecture: z.string(), variant: z.string().optional() });
const annotations = z.record(z.string(), z.string()).nullish();
const descriptor: z.ZodType<Descriptor> = z.looseObject({
  mediaType: z.string(),
  digest,
  size: z.int().min(0),
  platform: platform.optional(),
  annotations,
});

export const indexSchema: z.ZodType<{ manifests: Descriptor[] }> = z.looseObject({
  schemaVersion: z.literal(2),
  manifests: z.array(descriptor).max(1000),
});
export const manifestSchema: z.ZodType<{ config: Descriptor; layers: Descriptor[] }> = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor).max(1000),
});
const words = z.array(z.string()).nullish();
export const configSchema: z.ZodType<ImageConfig> = z.looseObject({
  os: z.string().optional(),
  architecture: z.string().optional(),
  config: z
    .looseObject({
      Entrypoint: words,
      Cmd: words,
      Env: words,
      User: z.string().nullish(),
      WorkingDir: z.string().nullish(),
      Labels: z.record(z.string(), z.string()).nullish(),
    })
    .nullish(),
  rootfs: z.looseObject({ type: z.string().optional(), diff_ids: z.array(digest) }).optional(),
});
/** `manifest.json` of `docker save`. */
export const savedSchema: z.ZodType<SavedImage[]> = z.array(
  z.looseObject({ Config: z.string(), RepoTags: words, Layers: z.array(z.string()).max(1000) }),
);

/** The kinds of descriptors by their media types. */
export const mediaTypes: Readonly<Record<'index' | 'manifest' | 'config' | 'layer', readonly string[]>> = {
  index: ['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json'],
  manifest: ['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json'],
  config: ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'],
  layer: [
    'application/vnd.oci.image.layer.v1.tar',
    'application/vnd.oci.image.layer.v1.tar+gzip',
    'application/vnd.oci.image.layer.v1.tar+zstd',
    'application/vnd.docker.image.rootfs.diff.tar',
    'application/vnd.docker.image.rootfs.diff.tar.gzip',
    'application/vnd.docker.image.rootfs.diff.tar.zstd',
  ],
};

/** Parses and checks a description. @throws {VmError} IMAGE_INVALID */
export function parseAs<T>(schema: z.ZodType<T>, bytes: Buffer, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new VmError('IMAGE_INVALID', `${what} is no JSON`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { path = [], message = '' } = result.error.issues[0] ?? {};
  throw new VmError('IMAGE_INVALID', `${what} is wrong at ${path.map(String).join('.') || 'its top'}: ${message}`);
}

/** @throws {VmError} UNSUPPORTED for a media type that isn't one of its kind */
export function checkMediaType(kind: keyof typeof mediaTypes, mediaType: string): void {
  if (mediaTypes[kind].includes(mediaType)) return;
  throw new VmError('UNSUPPORTED', `the image has a ${kind} of the media type ${JSON.stringify(mediaType)}`, {
    advice: `Those that are known: ${mediaTypes[kind].join(', ')}.`,
  });
}

/** The parts of an image's configuration that a VM has a use for. @throws {VmError} IMAGE_INVALID */
export function rootConfigOf({ config }: ImageConfig): RootConfig {
  if (config === undefined || config === null) return emptyConfig;
  const made: RootConfig = {
    entrypoint: config.Entrypoint ?? [],
    cmd: config.Cmd ?? [],
    env: config.Env ?? [],
    user: config.User ?? '',
    workdir: config.WorkingDir ?? '',
    labels: config.Labels ?? {},
  };
  const all = [...made.entrypoint, ...made.cmd, ...made.env, made.user, made.workdir];
  if (all.some((word) => word.includes('\0')))
    throw new VmError('IMAGE_INVALID', "the image's configuration holds a NUL character");
  if (made.env.some((word) => word.indexOf('=') < 1))
    throw new VmError('IMAGE_INVALID', "the image's configuration has a variable without a name or a value");
  if (made.workdir !== '' && !made.workdir.startsWith('/')) made.workdir = `/${made.workdir}`;
  return made;
}
