import type { FileRecord } from '../image.ts';

/** The newest layout of a root image's manifest. */
export const rootManifestVersion = 1;

/** How the programs of an image want to be run: the parts of an OCI configuration that a VM has a use for. */
export interface RootConfig {
  /** what is put before every command */
  entrypoint: string[];
  /** the command when none is given */
  cmd: string[];
  /** `NAME=value` */
  env: string[];
  /** name or uid, with `:group` or `:gid` if need be; root when empty */
  user: string;
  /** working folder; empty: the user's home */
  workdir: string;
  labels: Record<string, string>;
}

/** The file system of a root image: EROFS when it was made here, which every Linux since 5.4 reads; else that of the disk that was imported. */
export type RootType = 'erofs' | 'ext4' | 'squashfs';

/**
 * Bytes that the size of a root image is a multiple of: Cloud Hypervisor shows its guest an image as memory, in pages of 2 MiB, and takes no other
 * (`PmemSizeNotAligned` in its sources).
 */
export const rootSizeUnit: number = 2 * 2 ** 20;

/** What is known of a root image, as stored under its name. */
export interface RootManifest {
  schemaVersion: typeof rootManifestVersion;
  name: string;
  /** as in `uname -m` */
  architecture: 'x86_64' | 'aarch64';
  /** the file system: equal ones are stored once, whatever names they have */
  root: FileRecord & { type: RootType };
  config: RootConfig;
  /** what it was made of: the digest of an OCI manifest, a file's name, package names */
  source: string;
  /** ISO 8601, UTC: when it was stored under this name */
  stored: string;
}

/** A root file system that VMs can have. */
export interface RootImage {
  name: string;
  /** absolute path of the file system */
  file: string;
  manifest: RootManifest;
}

/** What an image says that says nothing. */
export const emptyConfig: RootConfig = { entrypoint: [], cmd: [], env: [], user: '', workdir: '', labels: {} };

/** What is run: the arguments after the entrypoint, or the image's own command. Empty when there is neither. */
export function commandOf(config: RootConfig, args: readonly string[]): string[] {
  return [...config.entrypoint, ...(args.length > 0 ? args : config.cmd)];
}
