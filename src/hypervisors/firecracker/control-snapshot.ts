import { chmod, chown, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { writeAtomically } from '../../state/atomic-file.ts';
import { moveFile } from '../move-file.ts';
import { isClosed } from '../template-memory.ts';
import type { VmmProcess } from '../vmm-process.ts';
import type { FirecrackerControl } from './control.ts';
import { copySparsely } from './control-copy.ts';
import { insert, takeOut, type WorkFolder } from './control-jail.ts';
import { snapshotNames } from './plan.ts';
import { readSaved, type SavedMachine, savedFiles, writeSaved } from './state-saved.ts';

const parts = ['memory', 'state'] as const;
type Part = (typeof parts)[number];

/** Where a VM's state folder names the snapshot that was made of it last. */
function lastSnapshotFile(stateFolder: string): string {
  return path.join(stateFolder, 'last-snapshot');
}

/** What a snapshot is made of, beside what Firecracker writes. */
export interface SnapshotScope {
  control: FirecrackerControl;
  vmm: Pick<VmmProcess, 'alive' | 'lend' | 'takeBack'>;
  at: WorkFolder;
  stateFolder: string;
  /** whether KVM tells what the guest writes from now on: the next snapshot can build on this one */
  tracks: boolean;
  /** folder of the snapshot to build on; all memory is written when absent */
  base?: string | undefined;
}

/**
 * Has Firecracker write memory and devices of a paused VM into a folder. With a base the memory file begins as a copy of that one's (one that shares its blocks, where the file system can), and gets what has changed since.
 * @returns bytes of memory
 * @throws {VmError} INVALID_ARGUMENT for a base that is not the snapshot before this one; VMM_FAILED, IO, TIMEOUT, ABORTED
 */
export async function saveSnapshot(
  { control, vmm, at, stateFolder, tracks, base }: SnapshotScope,
  folder: string,
  machine: Omit<SavedMachine, 'schema' | 'memoryBytes'>,
  call: CallOptions,
): Promise<number> {
  if (base !== undefined) await requireLast(stateFolder, base);
  // In a jail Firecracker makes the files in its folder, and they are moved; else it fills those that are in ours.
  const jailed = at.uid !== undefined;
  const made = at.unmounted ?? at.folder;
  const place = (part: Part): string => (jailed ? path.join(made, snapshotNames[part]) : savedFiles[part](folder));
  try {
    if (base !== undefined) await copySparsely(savedFiles.memory(base), place('memory'));
    if (jailed && base !== undefined) await chown(place('memory'), at.uid ?? 0, at.uid ?? 0);
    if (!jailed)
      for (const part of parts) {
        await vmm.lend(place(part), call);
        await insert(at, { source: place(part), name: snapshotNames[part], access: 'write' });
      }
    await control.snapshot(base === undefined ? 'Full' : 'Diff', call);
    for (const part of parts)
      if (jailed) await moveFile(place(part), savedFiles[part](folder), copySparsely);
      else await vmm.takeBack(place(part), call);
    for (const part of parts) await chmod(savedFiles[part](folder), 0o600);
    // What a VMM with a uid of its own may read it maps, where it would get a copy: so VMs share what they go on from.
    if (await isClosed(folder)) await chmod(savedFiles.memory(folder), 0o644);
    const { size: memoryBytes } = await stat(savedFiles.memory(folder));
    await writeSaved(folder, { schema: 1, ...machine, memoryBytes });
    if (tracks) await writeAtomically(lastSnapshotFile(stateFolder), `${machine.snapshotId}\n`);
    return memoryBytes;
  } catch (error) {
    // What was not lent yet can't be taken back; the files go in any case.
    if (!jailed && vmm.alive()) for (const part of parts) await vmm.takeBack(place(part)).catch(() => undefined);
    for (const part of parts) await rm(savedFiles[part](folder), { force: true });
    // What has changed since the base is known no more: it may have been written already.
    await rm(lastSnapshotFile(stateFolder), { force: true });
    throw VmError.from(error, 'IO', { path: folder });
  } finally {
    for (const part of parts) await takeOut(at, snapshotNames[part]);
  }
}

/** Shows the files of a snapshot to Firecracker while something is done. The memory's stays mapped after it. */
export async function withSnapshot<T>(at: WorkFolder, folder: string, action: () => Promise<T>): Promise<T> {
  try {
    for (const part of parts)
      await insert(at, { source: savedFiles[part](folder), name: snapshotNames[part], access: 'read', once: true });
    return await action();
  } finally {
    for (const part of parts) await takeOut(at, snapshotNames[part]);
  }
}

async function requireLast(stateFolder: string, base: string): Promise<void> {
  const { snapshotId } = await readSaved(base);
  const last = await readFile(lastSnapshotFile(stateFolder), 'utf8').catch(() => '');
  if (last.trim() === snapshotId) return;
  throw new VmError('INVALID_ARGUMENT', `${base} is not the snapshot that was made of this VM last`, {
    operation: 'save',
    path: base,
    advice: 'Leave `base` out: all memory is written then.',
  });
}
