import { stat } from 'node:fs/promises';
import { fileError } from '../config/file-error.ts';
import { VmError } from '../errors.ts';
import type { FsDevice } from '../hypervisors/device.ts';
import type { HypervisorModule } from '../hypervisors/hypervisor.ts';
import type { AttachedDevice } from './device-spec.ts';

/** A folder of this host that a VM gets a copy of, since its VMM shares none. */
export interface CopiedFolder {
  id: string;
  /** of this host, absolute */
  path: string;
  /** absolute path in the guest */
  mountAt: string;
  readOnly: boolean;
  /** an image of it, which the guest mounts; or its files, which are copied back */
  as: 'image' | 'files';
}

/** Whether a VMM shares folders of this host with its guests. @param hasRoot whether the VM has a root image */
export function sharesFolders({ bootsGuest, capabilities }: HypervisorModule, hasRoot: boolean): boolean {
  return bootsGuest ? capabilities.devices.fs.start === true : !hasRoot;
}

/**
 * Takes out of the devices of a VM the folders that its VMM can't share, and tells how the guest gets them instead.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID for what is no folder; INVALID_ARGUMENT for two in one place
 */
export async function copiedFolders(
  devices: readonly AttachedDevice[],
  module: HypervisorModule,
  hasRoot: boolean,
  tell: (notice: string) => void,
): Promise<{ devices: AttachedDevice[]; folders: CopiedFolder[] }> {
  const { type, bootsGuest } = module;
  const shares = sharesFolders(module, hasRoot);
  const folders: CopiedFolder[] = [];
  const others: AttachedDevice[] = [];
  for (const attached of devices) {
    const { device, mountAt } = attached;
    // Who names a way of sharing is told that it isn't there.
    if (shares || device.kind !== 'fs' || mountAt === undefined || device.driver !== undefined) {
      others.push(attached);
      continue;
    }
    const { id, path, readOnly } = device;
    await requireFolder(device);
    if (folders.some((other) => other.mountAt === mountAt))
      throw new VmError('INVALID_ARGUMENT', `two folders are to be at ${mountAt}`, { field: 'mountAt' });
    const as = readOnly && bootsGuest ? 'image' : 'files';
    folders.push({ id, path, mountAt, readOnly, as });
    tell(
      readOnly
        ? `${type} shares no folders: ${mountAt} is a copy of ${path} as it is now`
        : `${type} shares no folders: ${path} is copied to ${mountAt}, and back when the VM is stopped or removed`,
    );
  }
  return { devices: others, folders };
}

/** @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE; FILE_INVALID for what is no folder */
export async function requireFolder({ path }: FsDevice): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw fileError(error, 'path', path);
  });
  if (!found.isDirectory()) throw new VmError('FILE_INVALID', `${path} is no folder`, { path, field: 'path' });
}

/** A copied folder as `inspect` and `attach` have devices: the VMM knows nothing of it. */
export function asAttached({ id, path, mountAt, readOnly, as }: CopiedFolder): AttachedDevice {
  return { device: { kind: 'fs', id, path, tag: id, readOnly }, mountAt, copied: as };
}

/** The same again of what was attached; undefined for a device that the VMM has. */
export function asCopied({ device, mountAt, copied }: AttachedDevice): CopiedFolder | undefined {
  if (device.kind !== 'fs' || mountAt === undefined || copied === undefined) return undefined;
  const { id, path, readOnly } = device;
  return { id, path, mountAt, readOnly, as: copied };
}

/** @throws {VmError} UNSUPPORTED for a VM that has an image of a folder, which goes with it */
export function refuseFolderImages(folders: readonly CopiedFolder[], operation: string): void {
  const found = folders.find(({ as }) => as === 'image');
  if (found === undefined) return;
  throw new VmError('UNSUPPORTED', `${operation} would go on with an image of ${found.path}, which ends with the VM`, {
    operation,
    advice: 'Copy the folder into the running VM (`polyvisor cp`) instead of naming it at the start.',
  });
}
