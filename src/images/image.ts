import type { GuestArch } from '../config/host.ts';

/** The newest layout of an image's manifest. */
export const manifestVersion = 1;

/** Name of the image that is used when the user names no kernel. */
export const defaultImageName = 'default';

/** Name of the default guest of an architecture; without one, of the host's. */
export function defaultGuestName(arch: GuestArch | undefined): string {
  return arch === undefined ? defaultImageName : `${defaultImageName}-${arch}`;
}

/** Name of the image with the host's own kernel, and what stands for that kernel in a configuration. */
export const hostImageName = 'host';

/** Size in bytes and SHA-256 (hex) of one file. */
export interface FileRecord {
  sha256: string;
  size: number;
}

/** A Debian package that went into an image. */
export interface PackageRecord extends FileRecord {
  name: string;
  version: string;
}

/** What an image is made of, as stored in its `manifest.json`. Holds no times, so that equal inputs give equal bytes. */
export interface ImageManifest {
  schemaVersion: typeof manifestVersion;
  name: string;
  /** as in `uname -m` */
  architecture: 'x86_64' | 'aarch64';
  /** SHA-256 of everything that decides the image's content; names its folder */
  key: string;
  /** SHA-256 of the recipe: what the builder puts where, without the inputs */
  recipe: string;
  /** as in `uname -r` */
  kernelRelease: string;
  /** `elf`: an uncompressed vmlinux, booted through PVH; `image`: the distribution's own file */
  kernelFormat: 'elf' | 'image';
  /** kernel parameters that the guest is meant to be booted with, before the VMM's own and the user's */
  commandLine: string[];
  packages: PackageRecord[];
  /** the inputs that are no packages */
  inputs: { agent: FileRecord };
  /** `bzImage` where the kernel was unpacked: as the distribution packed it */
  files: { kernel: FileRecord; initrd: FileRecord; bzImage?: FileRecord };
  /** names of the modules that the agent loads at boot, in order */
  bootModules: string[];
  /** names of the modules that are in the initrd and loaded when something asks for them */
  otherModules: string[];
}

/** A guest that can be booted. */
export interface GuestImage {
  name: string;
  folder: string;
  /** absolute path */
  kernel: string;
  /** absolute path */
  initrd: string;
  /** absolute path of the same kernel as the distribution packed it, for a VMM that takes no other; absent where `kernel` is that one */
  bzImage?: string;
  manifest: ImageManifest;
}

/** Progress of a build. `done` of `total` counts bytes in the phase `download`. */
export interface BuildEvent {
  phase: 'resolve' | 'download' | 'unpack' | 'initrd' | 'store' | 'done';
  message: string;
  done?: number;
  total?: number;
}
