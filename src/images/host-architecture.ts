import { VmError } from '../errors.ts';

/** One architecture under the names that Linux and Debian give it, and Debian's kernel for VMs. */
export interface HostArchitecture {
  linux: 'x86_64' | 'aarch64';
  debian: 'amd64' | 'arm64';
  kernelPackage: string;
}

/**
 * The architecture that guests on this host have.
 * @throws {VmError} UNSUPPORTED when it is neither x86_64 nor aarch64
 */
export function hostArchitecture(arch: string = process.arch): HostArchitecture {
  if (arch === 'x64') return { linux: 'x86_64', debian: 'amd64', kernelPackage: 'linux-image-cloud-amd64' };
  if (arch === 'arm64') return { linux: 'aarch64', debian: 'arm64', kernelPackage: 'linux-image-cloud-arm64' };
  throw new VmError('UNSUPPORTED', `there is no default guest for the architecture ${arch}`);
}
