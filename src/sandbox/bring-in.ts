import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import { vmFiles } from '../state/paths.ts';
import { TarReader } from '../transports/tar/reader.ts';
import type { CopiedFolder } from './copied-folders.ts';
import { ArchiveRules } from './copy/archive-rules.ts';
import { Baseline, guestMark, hostMark, nameOf } from './copy/baseline.ts';
import { copyIn } from './copy/copy.ts';
import { folderArchive, mountFolderImage } from './folder-image.ts';

/**
 * Gives the guest its folders, and writes down what it was given.
 * @throws {VmError} AGENT_FAILED with what the guest said; IO; as `copyIn` does
 */
export async function bringIn(
  stateFolder: string,
  agent: GuestAgent,
  folders: readonly CopiedFolder[],
  call: CallOptions,
): Promise<void> {
  for (const folder of folders) {
    if (folder.as === 'image') await mountFolderImage(agent, folder.id, folder.mountAt, call);
    else await bringFiles(stateFolder, agent, folder, call);
  }
}

async function bringFiles(
  stateFolder: string,
  agent: GuestAgent,
  { id, path, mountAt, readOnly }: CopiedFolder,
  call: CallOptions,
): Promise<void> {
  await makeFolder(agent, mountAt, call);
  // What the guest's image has there already is not this host's.
  const baseline = readOnly ? new Baseline() : await alreadyThere(agent, mountAt, call);
  await copyIn(agent, `${path}/.`, mountAt, {
    ...call,
    onEntry: (entry, found) => {
      const name = nameOf(entry);
      if (name !== '') baseline.set(name, { guest: guestMark(entry), host: hostMark(found, entry.link) });
    },
  });
  if (readOnly) await closeFolder(agent, mountAt, call);
  else await baseline.write(vmFiles.folderFiles(stateFolder, id));
}

async function alreadyThere(agent: GuestAgent, folder: string, call: CallOptions): Promise<Baseline> {
  const baseline = new Baseline();
  const rules = new ArchiveRules('.');
  const reader = new TarReader();
  const { stream, done } = agent.getFiles(`${folder}/.`, { signal: call.signal });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      for (const event of reader.push(chunk)) {
        if (event === 'end' || 'data' in event) continue;
        rules.place(event.entry);
        const name = nameOf(event.entry);
        if (name !== '') baseline.set(name, { guest: guestMark(event.entry) });
      }
    }
    reader.finish();
    await done;
  } catch (error) {
    stream.destroy();
    await done.catch(() => undefined);
    throw error;
  }
  return baseline;
}

/** Needs no program of the guest: an archive that holds the folders alone. */
async function makeFolder(agent: GuestAgent, folder: string, call: CallOptions): Promise<void> {
  await agent.putFiles(folderArchive(folder), '/', call);
}

async function closeFolder(agent: GuestAgent, folder: string, call: CallOptions): Promise<void> {
  const script = 'mount -o bind "$1" "$1" && mount -o remount,bind,ro "$1"';
  const { exitCode, stderr } = await agent.exec(['/bin/sh', '-c', script, 'sh', folder], { signal: call.signal });
  if (exitCode !== 0)
    throw new VmError('AGENT_FAILED', `the guest can't close ${folder} to writers: ${stderr.trim().slice(0, 300)}`);
}
