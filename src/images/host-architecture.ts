import type { GuestArch } from '../config/host.ts';
import { VmError } from '../errors.ts';

/** One architecture under the names that Linux, Debian and Node give it, and Debian's kernel for VMs. */
export interface Architecture {
  linux: 'x86_64' | 'aarch64';
  debian: GuestArch;
  node: 'x64' | 'arm64';
  kernelPackage: string;
}

const architectures: Readonly<Record<GuestArch, Architecture>> = {
  amd64: { linux: 'x86_64', debian: 'amd64', node: 'x64', kernelPackage: 'linux-image-cloud-amd64' },
  arm64: { linux: 'aarch64', debian: 'arm64', node: 'arm64', kernelPackage: 'linux-image-cloud-arm64' },
};

/**
 * The architecture that guests on this host have, unless another one is asked for.
 * @throws {VmError} UNSUPPORTED when it is neither x86_64 nor aarch64
 */
export function hostArchitecture(arch: string = process.arch): Architecture {
  const found = Object.values(architectures).find(({ node }) => node === arch);
  if (found !== undefined) return found;
  throw new VmError('UNSUPPORTED', `there is no default guest for the architecture ${arch}`);
}

/** An architecture by its name; this host's when there is none. @throws {VmError} UNSUPPORTED as `hostArchitecture` does */
export function architectureOf(arch: GuestArch | undefined): Architecture {
  return arch === undefined ? hostArchitecture() : architectures[arch];
}
