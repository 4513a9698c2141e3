import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import { vmName } from './plan.ts';

/*
 * Beside the monitor that the driver asks for, acrn-dm always has one for acrnctl: `NAME.monitor.PID.socket` in a folder of all VMs. A
 * killed acrn-dm leaves it there, and acrnctl then shows a VM that has long ended.
 */

/** The folder of those sockets (ACRN_DM_SOCK_PATH). */
export const managerFolder = '/run/acrn/mngr';

/** Makes that folder: acrn-dm would, but a confined one sees it only if it is there before. @throws {VmError} IO */
export async function makeManagerFolder(folder: string = managerFolder): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 }).catch((error: NodeJS.ErrnoException) => {
    const facts = {
      path: folder,
      errno: error.code,
      cause: error,
      advice: 'Run as root: acrn-dm needs what root may.',
    };
    throw new VmError('IO', `can't make ${folder}: ${error.message}`, facts);
  });
}

/** Removes the sockets for acrnctl that acrn-dm left of a VM that has ended. @throws {VmError} IO */
export async function removeSockets(id: string, folder: string = managerFolder): Promise<void> {
  for (const file of await socketsOf(id, folder)) await remove(file);
}

/** Removes those in the VM's own folder, consoles and agent channels: acrn-dm leaves them there, however it ends. @throws {VmError} IO */
export async function removeOwnSockets(runtimeFolder: string): Promise<void> {
  const found = await readdir(runtimeFolder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw unreadable(runtimeFolder, error);
  });
  for (const entry of found) if (entry.isSocket()) await remove(path.join(runtimeFolder, entry.name));
}

async function remove(file: string): Promise<void> {
  await rm(file, { force: true }).catch((error: NodeJS.ErrnoException) => {
    throw new VmError('IO', `can't remove ${file}: ${error.message}`, { path: file, errno: error.code, cause: error });
  });
}

/** Refuses to start a VM of a name that one has which runs. @throws {VmError} BUSY */
export async function requireFreeName(id: string, folder: string = managerFolder): Promise<void> {
  for (const file of await socketsOf(id, folder)) {
    const stream = await connectUnix(file, { mustExist: true, timeoutMs: 1_000 }).catch(() => undefined);
    if (stream === undefined) continue;
    stream.destroy();
    throw new VmError('BUSY', `ACRN runs another VM that is called ${vmName(id)}`, { path: file });
  }
  await removeSockets(id, folder);
}

async function socketsOf(id: string, folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw unreadable(folder, error);
  });
  const prefix = `${vmName(id)}.monitor.`;
  return names
    .filter((name) => name.startsWith(prefix) && name.endsWith('.socket'))
    .map((name) => path.join(folder, name));
}

function unreadable(folder: string, error: NodeJS.ErrnoException): VmError {
  const words = `can't look into ${folder}: ${error.message}`;
  return new VmError('IO', words, { path: folder, errno: error.code, cause: error });
}
