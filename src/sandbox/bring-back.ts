import { type CallOptions, inScope } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { lock } from '../state/lock.ts';
import { vmFiles } from '../state/paths.ts';
import type { AgentLink } from './agent-link.ts';
import { readAttached } from './attached.ts';
import { asCopied, type CopiedFolder } from './copied-folders.ts';
import { ArchiveRules } from './copy/archive-rules.ts';
import { Baseline } from './copy/baseline.ts';
import { type FolderConflict, mergeArchive } from './copy/merge.ts';
import type { HeldVm } from './held-vm.ts';
import { statusOf } from './status.ts';

/** What came back of the folders that a guest has copies of. */
export interface BroughtBack {
  /** files, folders and links that were written here */
  written: number;
  /** the same, removed here since the guest has removed them */
  removed: number;
  /** files that have changed on both sides: nothing of either is lost */
  conflicts: FolderConflict[];
  /** sockets, fifos and devices, which stay in the guest */
  skipped: number;
}

/** Milliseconds that a guest gets to answer before its folders are copied back. */
const linkMs = 30_000;

/**
 * Brings the folders of this host that a guest has copies of up to what the guest has made of them: what is new or has changed there is
 * written here, what was removed there is removed here, and nothing else is touched. A file that has changed here as well stays as it is; the
 * guest's is put beside it. Nothing goes anywhere but into these folders, whatever links the guest has made.
 * @param agent of the guest; not asked for when it has no such folders
 * @throws {VmError} STATE_INVALID, BUSY, and what `copyOut` throws; what was whole by then is here
 */
export async function bringBack(held: HeldVm, agent: () => GuestAgent, call: CallOptions): Promise<BroughtBack> {
  // Nothing is asked of a VM that has no such folder, also when it is gone.
  if (held.folders.length > 0) await held.locate();
  else await held.locateIfThere();
  const folders = await writableCopies(held);
  return folders.length === 0 ? nothing() : bringBackThese(held, agent(), folders, call);
}

/** The same of some of its folders. */
export async function bringBackThese(
  { context, name }: HeldVm,
  agent: GuestAgent,
  folders: readonly CopiedFolder[],
  call: CallOptions,
): Promise<BroughtBack> {
  const all = nothing();
  const { stateFolder } = context;
  // Two at once would each take the other's files for changes of this host.
  const held = await lock(stateFolder, 'folders', call);
  try {
    for (const folder of folders) {
      const { written, removed, conflicts, skipped } = await bringOne(stateFolder, name, agent, folder, call);
      all.written += written;
      all.removed += removed;
      all.conflicts.push(...conflicts);
      all.skipped += skipped;
    }
    return all;
  } finally {
    await held.release();
  }
}

/**
 * The same before a VM is ended or removed, of one that runs; does nothing for one that has ended.
 * @param linkTo a way to its agent
 * @throws {VmError} INVALID_STATE for one that is paused, and as `bringBack` does: then the guest still has what it wrote
 */
export async function bringBackFirst(
  held: HeldVm,
  linkTo: (call: CallOptions) => Promise<AgentLink>,
  operation: string,
  { signal }: CallOptions,
): Promise<BroughtBack | undefined> {
  const folders = await writableCopies(held);
  if (folders.length === 0) return undefined;
  const { name } = held;
  const status = statusOf(await held.locate());
  if (status === 'paused') {
    const [{ path }] = folders as [CopiedFolder];
    throw new VmError('INVALID_STATE', `${name} is paused, and can't give back what it wrote to its copy of ${path}`, {
      name,
      operation,
      advice: 'Resume it first, or use force, which loses that.',
    });
  }
  if (status !== 'running') return undefined;
  try {
    const { agent, close } = await inScope('the copy of folders back', { signal, timeoutMs: linkMs }, linkTo);
    try {
      return await bringBackThese(held, agent, folders, { signal });
    } finally {
      await close();
    }
  } catch (error) {
    throw VmError.from(error).with({ name, operation, path: folders[0]?.path });
  }
}

/** What a user should hear of it, a line each. */
export function noticesOf({ conflicts, skipped }: BroughtBack): string[] {
  const lines = conflicts.map(({ path, copy }) =>
    copy === undefined
      ? `${path} was removed in the guest and has changed here: it stays`
      : `${path} has changed here and in the guest: the guest's is ${copy}`,
  );
  return skipped === 0 ? lines : [...lines, `${skipped} sockets, fifos and devices were not copied back`];
}

function nothing(): BroughtBack {
  return { written: 0, removed: 0, conflicts: [], skipped: 0 };
}

async function writableCopies({ context }: HeldVm): Promise<CopiedFolder[]> {
  const copies = (await readAttached(context.stateFolder)).map(asCopied);
  return copies.filter((folder) => folder?.as === 'files' && !folder.readOnly) as CopiedFolder[];
}

async function bringOne(
  stateFolder: string,
  vm: string,
  agent: GuestAgent,
  { id, path, mountAt }: CopiedFolder,
  call: CallOptions,
): Promise<BroughtBack> {
  const file = vmFiles.folderFiles(stateFolder, id);
  const baseline = await Baseline.read(file);
  const rules = { archive: new ArchiveRules('.'), baseline, suffix: `.from-${vm}` };
  return inScope('the copy out of the guest', call, async ({ signal }) => {
    const { stream, done } = agent.getFiles(`${mountAt}/.`, { signal });
    try {
      const merged = await mergeArchive(stream, path, rules);
      return { ...merged, skipped: (await done).skipped };
    } catch (error) {
      stream.destroy();
      // The guest is done with it too, before the caller goes on.
      await done.catch(() => undefined);
      throw VmError.from(error, 'IO').with({ operation: 'copy' });
    } finally {
      // Also of one that broke off: what was written is not taken for a change of this host later.
      await baseline.write(file);
    }
  });
}
