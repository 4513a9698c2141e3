import type { FieldUse } from '../config/field-use.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { findProgram } from '../transports/process/find-program.ts';
import type { AttachedDevice } from './device-spec.ts';

/** Where distributions have virtiofsd: the one in Rust first, which can do more than the one that came with QEMU. */
const daemons = ['virtiofsd', '/usr/libexec/virtiofsd', '/usr/lib/virtiofsd', '/usr/lib/qemu/virtiofsd'];

/**
 * The configuration of a VM that starts with shared folders: virtio-fs with the daemon that this host has, unless it says otherwise, since
 * 9p needs a driver that kernels for clouds lack.
 * @throws {VmError} HOST_MISSING when there is no daemon
 */
export async function withSharing(
  input: VmConfigInput,
  devices: readonly AttachedDevice[],
  { uses }: FieldUse,
): Promise<VmConfigInput> {
  const shares = devices.some(({ device }) => device.kind === 'fs' && device.driver !== 'virtio-9p');
  if (!shares || input.sharedFs === 'virtio-9p' || uses.virtioFsDaemon !== true) return input;
  const shared: VmConfigInput = uses.sharedFs === true ? { ...input, sharedFs: 'virtio-fs' } : input;
  return shared.virtioFsDaemon === undefined ? { ...shared, virtioFsDaemon: await findDaemon() } : shared;
}

async function findDaemon(): Promise<string> {
  for (const candidate of daemons) {
    try {
      return await findProgram(candidate);
    } catch (error) {
      if (VmError.from(error).code !== 'HYPERVISOR_NOT_FOUND') throw error;
    }
  }
  throw new VmError('HOST_MISSING', 'a shared folder needs virtiofsd, which is not on this host', {
    field: 'virtioFsDaemon',
    advice: 'Install the package virtiofsd, or on Debian 12 qemu-system-common; or name it with `virtioFsDaemon`.',
  });
}
