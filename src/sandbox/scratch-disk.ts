import { constants } from 'node:fs';
import { access, chmod, open, rm, stat } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { BlockDevice } from '../hypervisors/device.ts';
import { runTool } from '../images/host-tool.ts';
import { vmFiles } from '../state/paths.ts';
import type { Scratch } from './scratch.ts';

/** Where distributions keep it; an ordinary user's PATH often lacks these. */
const makers = ['/usr/sbin/mke2fs', '/sbin/mke2fs'];

/**
 * The disk of a VM's layer, made unless it is to be as it was; undefined when the layer is in memory.
 * @throws {VmError} HOST_MISSING without mke2fs; IO when the host has no room; ABORTED
 */
export async function scratchDisk(
  stateFolder: string,
  { sizeMiB, on, keep, uuid }: Scratch,
  call: CallOptions,
): Promise<BlockDevice | undefined> {
  if (on === 'memory') return undefined;
  const file = vmFiles.scratch(stateFolder);
  if (!(keep && (await isThere(file)))) await makeFileSystem(file, { sizeMiB, uuid, journal: keep }, call);
  return { kind: 'block', id: 'scratch', path: file, format: 'raw', readOnly: false, driver: 'virtio-blk' };
}

async function makeFileSystem(
  file: string,
  { sizeMiB, uuid, journal }: { sizeMiB: number; uuid: string; journal: boolean },
  { signal }: CallOptions,
): Promise<void> {
  try {
    await rm(file, { force: true });
    const made = await open(file, 'wx', 0o600);
    try {
      await made.truncate(sizeMiB * 2 ** 20);
    } finally {
      await made.close();
    }
    // The VMM runs under a uid of its own, and is shown the file; nobody else can pass through our folders.
    await chmod(file, 0o666);
  } catch (cause) {
    throw VmError.from(cause, 'IO', { path: file });
  }
  // What is thrown away needs no journal; tables are left to be zeroed by nobody: the file is new.
  const features = journal ? [] : ['-O', '^has_journal'];
  const extended = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0';
  const argv = ['-q', '-F', '-t', 'ext4', '-m', '0', '-b', '4096', '-U', uuid, ...features, '-E', extended, file];
  const { exitCode, errors } = await runTool(await maker(), argv, {
    signal,
    advice: 'Install e2fsprogs, or have scratch in memory: `--scratch memory:512M`.',
  });
  if (exitCode !== 0)
    throw new VmError('IO', `mke2fs can't make the scratch disk: ${errors.trim().split('\n')[0] ?? ''}`, {
      path: file,
      exitCode,
      log: errors,
    });
}

async function maker(): Promise<string> {
  for (const candidate of makers)
    if (
      await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return candidate;
  return 'mke2fs';
}

async function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}
