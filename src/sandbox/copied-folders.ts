import { stat } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { fileError } from '../config/file-error.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import type { HypervisorModule } from '../hypervisors/hypervisor.ts';
import { copyIn, copyOut } from './copy/copy.ts';
import type { AttachedDevice } from './device-spec.ts';
import { mountFolderImage } from './folder-image.ts';

/** A folder of this host that a VM gets a copy of, since its VMM shares none. */
export interface CopiedFolder {
  id: string;
  /** of this host, absolute */
  path: string;
  /** absolute path in the guest */
  mountAt: string;
  readOnly: boolean;
  /** an image of it, which the guest mounts; or its files, which are copied back when the VM is stopped */
  as: 'image' | 'files';
}

/**
 * Takes out of the devices of a VM the folders that its VMM can't share, and tells how the guest gets them instead.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID for what is no folder; INVALID_ARGUMENT for two in one place
 */
export async function copiedFolders(
  devices: readonly AttachedDevice[],
  { type, bootsGuest, capabilities }: HypervisorModule,
  hasRoot: boolean,
  tell: (notice: string) => void,
): Promise<{ devices: AttachedDevice[]; folders: CopiedFolder[] }> {
  const shares = bootsGuest ? capabilities.devices.fs.start === true : !hasRoot;
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
    const found = await stat(path).catch((error: unknown) => {
      throw fileError(error, 'path', path);
    });
    if (!found.isDirectory()) throw new VmError('FILE_INVALID', `${path} is no folder`, { path, field: 'path' });
    if (folders.some((other) => other.mountAt === mountAt))
      throw new VmError('INVALID_ARGUMENT', `two folders are to be at ${mountAt}`, { field: 'mountAt' });
    const as = readOnly && bootsGuest ? 'image' : 'files';
    folders.push({ id, path, mountAt, readOnly, as });
    tell(
      readOnly
        ? `${type} shares no folders: ${mountAt} is a copy of ${path} as it is now`
        : `${type} shares no folders: ${path} is copied to ${mountAt}, and back when the VM is stopped`,
    );
  }
  return { devices: others, folders };
}

/** Gives the guest its folders. @throws {VmError} AGENT_FAILED with what the guest said; as `copyIn` does */
export async function bringIn(agent: GuestAgent, folders: readonly CopiedFolder[], call: CallOptions): Promise<void> {
  for (const { id, path, mountAt, readOnly, as } of folders) {
    if (as === 'image') {
      await mountFolderImage(agent, id, mountAt, call);
      continue;
    }
    await makeFolder(agent, mountAt, call);
    await copyIn(agent, `${path}/.`, mountAt, call);
    if (readOnly) await closeFolder(agent, mountAt, call);
  }
}

/**
 * Copies what the guest has in its folders back to this host: what is new or has changed there replaces what is here; what was removed there
 * stays here. Nothing of it goes anywhere but into these folders, whatever links the guest has made.
 * @throws {VmError} as `copyOut` does
 */
export async function bringBack(agent: GuestAgent, folders: readonly CopiedFolder[], call: CallOptions): Promise<void> {
  for (const { path, mountAt, readOnly } of folders) if (!readOnly) await copyOut(agent, `${mountAt}/.`, path, call);
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

/** Needs no program of the guest: an archive that holds the folders alone. */
async function makeFolder(agent: GuestAgent, folder: string, call: CallOptions): Promise<void> {
  const { folderArchive } = await import('./folder-image.ts');
  await agent.putFiles(folderArchive(folder), '/', call);
}

async function closeFolder(agent: GuestAgent, folder: string, call: CallOptions): Promise<void> {
  const script = 'mount -o bind "$1" "$1" && mount -o remount,bind,ro "$1"';
  const { exitCode, stderr } = await agent.exec(['/bin/sh', '-c', script, 'sh', folder], { signal: call.signal });
  if (exitCode !== 0)
    throw new VmError('AGENT_FAILED', `the guest can't close ${folder} to writers: ${stderr.trim().slice(0, 300)}`);
}
