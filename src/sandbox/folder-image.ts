import { createHash } from 'node:crypto';
import { chmod, rm } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import type { BlockDevice } from '../hypervisors/device.ts';
import { writeErofs } from '../images/roots/erofs.ts';
import { folderTree } from '../images/roots/folder-tree.ts';
import { RangeReader } from '../images/roots/range-reader.ts';
import { vmFiles } from '../state/paths.ts';
import { TAR_TRAILER, tarHeaders } from '../transports/tar/writer.ts';

/** As of an image that is imported. */
const limits = { entries: 1_000_000, bytes: 64 * 2 ** 30 };

/** Where EROFS has the name of its volume, of 16 bytes; the script below reads it there. Each VMM names its disks in another way. */
const mountScript = [
  'mkdir -p -- "$2" || exit 1',
  'for disk in /sys/block/*; do',
  '  device=/dev/${disk##*/}',
  '  [ "$(dd if="$device" bs=16 skip=68 count=1 2>/dev/null)" = "$1" ] && exec mount -t erofs -o ro "$device" "$2"',
  'done',
  'echo "no disk has the name $1"; exit 1',
].join('\n');

/** The name of the volume of a folder's image: Linux takes none without a NUL behind it. */
function labelOf(id: string): string {
  return `pv-${createHash('sha256').update(id).digest('hex').slice(0, 12)}`;
}

/**
 * Makes an image of a folder of this host, as a disk for a VM. Links in it stay links, which lead nowhere but in the guest.
 * @throws {VmError} IMAGE_INVALID for devices and the like; FILE_UNREADABLE, IO, ABORTED
 */
export async function folderDisk(
  stateFolder: string,
  { id, path }: { id: string; path: string },
  { signal }: CallOptions,
): Promise<BlockDevice> {
  const file = vmFiles.folderImage(stateFolder, id);
  const reader = new RangeReader();
  try {
    await rm(file, { force: true });
    await writeErofs(await folderTree(path, limits, signal), file, reader, { signal, label: labelOf(id) });
    // The VMM runs under a uid of its own, and is shown the file; nobody else can pass through our folders.
    await chmod(file, 0o444);
  } finally {
    await reader[Symbol.asyncDispose]();
  }
  return { kind: 'block', id, path: file, format: 'raw', readOnly: true, driver: 'virtio-blk' };
}

/** Mounts such a disk in the guest. @throws {VmError} AGENT_FAILED with what the guest said; GUEST_NOT_FOUND in a guest without a shell */
export async function mountFolderImage(agent: GuestAgent, id: string, at: string, call: CallOptions): Promise<void> {
  const { exitCode, stdout, stderr } = await agent.exec(['/bin/sh', '-c', mountScript, 'sh', labelOf(id), at], {
    signal: call.signal,
  });
  if (exitCode === 0) return;
  throw new VmError('AGENT_FAILED', `the guest can't mount ${at}: ${`${stderr}${stdout}`.trim().slice(0, 300)}`);
}

/** An archive that holds a folder, with those above it, and nothing in it. */
export async function* folderArchive(folder: string): AsyncGenerator<Buffer> {
  const names = folder.split('/').filter((name) => name !== '');
  const common = {
    link: Buffer.alloc(0),
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtimeNs: BigInt(Date.now()) * 1_000_000n,
    size: 0,
  };
  for (let depth = 1; depth <= names.length; depth++)
    yield tarHeaders({ ...common, type: 'folder', name: Buffer.from(`${names.slice(0, depth).join('/')}/`) });
  yield TAR_TRAILER;
}
