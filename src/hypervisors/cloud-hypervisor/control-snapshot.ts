import { closeSync, constants, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { PlannedPath } from '../launch-plan.ts';
import { moveFile, requireFree } from '../move-file.ts';
import { isClosed } from '../template-memory.ts';
import { makePassage, withOwnPassage, withPassage } from './control-passage.ts';
import type { LiveScope } from './control-plug.ts';
import { deviceLists, isShared, type OwnDevice } from './devices.ts';
import { landlock } from './plan.ts';
import { mappedMemory, mappedState, zoneId } from './state-mapped.ts';
import { memoryBytesIn, savedFiles, type SavedMachine, type SavedPart, savedParts, writeSaved } from './state-saved.ts';
import type { VmConfig } from './wire.ts';

const mib = 2 ** 20;

const mappedName = 'state-mapped.json';

/**
 * Has Cloud Hypervisor write a paused VM into a folder.
 * @returns bytes of memory
 * @throws {VmError} VMM_FAILED, IO, TIMEOUT, ABORTED
 */
export async function saveSnapshot(
  scope: LiveScope,
  target: string,
  machine: Pick<SavedMachine, 'version' | 'devices'>,
  call: CallOptions,
): Promise<number> {
  try {
    await withPassage(scope, target, call, async (folder, here) => {
      await scope.control.snapshot(folder, call);
      for (const part of savedParts) await moveFile(path.join(here, part), path.join(target, part));
    });
    const { 'config.json': config, 'state.json': state, 'memory-ranges': memory } = savedFiles(target, {});
    // What a VMM with a uid of its own may read it opens, where it would get a copy.
    if (await isClosed(target)) await chmod(memory, 0o644);
    const memoryBytes = await memoryBytesIn(target);
    const { memory: saved } = JSON.parse(await readFile(config, 'utf8')) as VmConfig;
    const mapped = mappedState(await readFile(state, 'utf8'), saved);
    if (mapped !== undefined) await writeFile(path.join(target, mappedName), mapped, { flag: 'wx', mode: 0o600 });
    const facts = mapped === undefined ? {} : { mapped: mappedName };
    await writeSaved(target, { schema: 1, ...machine, memoryBytes, ...facts });
    return memoryBytes;
  } catch (error) {
    for (const part of [...savedParts, mappedName]) await rm(path.join(target, part), { force: true });
    throw VmError.from(error, 'IO', { path: target });
  }
}

/**
 * The same for a template: its memory stays in its file, and all else goes to where its configuration says.
 * @throws {VmError} VMM_FAILED, IO, also when a file is there already, TIMEOUT, ABORTED
 */
export async function saveTemplate(
  { control, context }: LiveScope,
  target: string,
  machine: Pick<SavedMachine, 'version' | 'devices'>,
  call: CallOptions,
): Promise<void> {
  const { config, runtimeFolder } = context;
  const { memoryPath = '', devicesStatePath = '', memoryMiB } = config;
  const apart = { memory: path.relative(target, memoryPath), state: path.relative(target, devicesStatePath) };
  const places = savedFiles(target, { apart });
  await requireFree(places['state.json']);
  const parts = ['config.json', 'state.json'] as const;
  try {
    await withOwnPassage(runtimeFolder, async (folder, here) => {
      await control.snapshot(folder, call);
      for (const part of parts) await moveFile(path.join(here, part), places[part]);
    });
    await writeSaved(target, { schema: 1, ...machine, memoryBytes: memoryMiB * mib, apart });
  } catch (error) {
    for (const part of parts) await rm(places[part], { force: true });
    throw VmError.from(error, 'IO', { path: target });
  }
}

/** By which Cloud Hypervisor learns of the pages that a guest uses first (userfaultfd(2); the device is there since Linux 6.1). */
export const pageFaults = '/dev/userfaultfd';

/**
 * How a guest that goes on from a snapshot gets its memory: it is mapped from the file, and has one size from then on; a page is brought when
 * it is used first; or all of it is read before. Memory that is apart is mapped.
 */
export type MemoryComing = 'mapped' | 'on demand' | 'at once';

/**
 * Whether memory of a snapshot can be read when it is used. Not memory that other processes map as well: nobody would bring what they use
 * first.
 */
function bringsOnDemand({ config }: Pick<VmContext, 'config'>): boolean {
  if (isShared(config) || config.hugePages) return false;
  try {
    closeSync(openSync(pageFaults, constants.O_RDWR));
    return true;
  } catch {
    // Not there, or not ours to use: all of it is read at once.
    return false;
  }
}

/** A snapshot as a VM is to go on from it. */
export interface SnapshotToRestore {
  devices: readonly OwnDevice[];
  config: VmConfig;
  memory: MemoryComing;
  /** where its files are */
  files: Readonly<Record<SavedPart, string>>;
}

/** What a Cloud Hypervisor opens that goes on from a snapshot. */
export function openedBy({ files, memory }: Pick<SnapshotToRestore, 'files' | 'memory'>): PlannedPath[] {
  const read = Object.values(files).map((path): PlannedPath => ({ path, access: 'read' }));
  return memory === 'on demand' ? [...read, { path: pageFaults, access: 'write' }] : read;
}

/**
 * Decides how the memory of a snapshot comes.
 * @param how onDemand: whether this version can bring it page by page; growable: it is not to be mapped
 * @throws {VmError} FILE_INVALID when the configuration in it can't be read
 */
export function readSnapshot(
  context: Pick<VmContext, 'config'>,
  folder: string,
  { devices, apart, mapped }: Pick<SavedMachine, 'devices' | 'apart' | 'mapped'>,
  how: { onDemand: boolean; growable: boolean },
): SnapshotToRestore {
  const files = savedFiles(folder, { apart });
  const file = files['config.json'];
  let config: VmConfig;
  try {
    config = JSON.parse(readFileSync(file, 'utf8')) as VmConfig;
  } catch (error) {
    throw VmError.from(error, 'FILE_INVALID', { path: file });
  }
  const isMapped = apart !== undefined || (mapped !== undefined && !how.growable);
  if (!isMapped) {
    const comes = how.onDemand && bringsOnDemand(context) ? 'on demand' : 'at once';
    return { devices, files, memory: comes, config: withOwnMemory(config) };
  }
  const memory = mappedMemory(config.memory, files['memory-ranges']);
  const state = mapped === undefined ? files['state.json'] : path.join(folder, mapped);
  return { devices, files: { ...files, 'state.json': state }, memory: 'mapped', config: { ...config, memory } };
}

/**
 * Makes a snapshot ready for a new Cloud Hypervisor, which need not run yet: its memory and state, its configuration with the paths of the new VM.
 * @returns the folder to restore from
 * @throws {VmError} IO
 */
export function openSnapshot(context: VmContext, snapshot: SnapshotToRestore): string {
  const { config, devices, files, memory } = snapshot;
  const own = relocated(config, context, devices, openedBy(snapshot));
  try {
    const folder = makePassage(context.runtimeFolder);
    writeFileSync(path.join(folder, 'config.json'), JSON.stringify(own), { mode: 0o644 });
    symlinkSync(files['state.json'], path.join(folder, 'state.json'));
    if (memory !== 'mapped') symlinkSync(files['memory-ranges'], path.join(folder, 'memory-ranges'));
    return folder;
  } catch (error) {
    throw VmError.from(error, 'IO', { path: context.runtimeFolder });
  }
}

/**
 * What was saved, at the places of another VM. What a list holds is what the guest found when it was saved. Pure.
 * @param opened what is opened beside
 */
export function relocated(
  saved: VmConfig,
  context: VmContext,
  devices: readonly OwnDevice[],
  opened: readonly PlannedPath[],
): VmConfig {
  const { runtimeFolder } = context;
  // Sockets of shared folders lie in the VMM's folder: they have other paths, and the same ids.
  const { fs = [] } = deviceLists(devices, context);
  const fsDevices = saved.fs?.map((one) => ({
    ...one,
    socket: fs.find(({ id }) => id === one.id)?.socket ?? one.socket,
  }));
  const { landlock_enable: _enabled, landlock_rules: _rules, ...others } = saved;
  return {
    ...others,
    ...landlock(context, opened),
    serial: { ...saved.serial, file: vmmFiles.console(runtimeFolder) },
    vsock: { ...saved.vsock, socket: vmmFiles.vsockSocket(runtimeFolder) },
    ...(fsDevices === undefined ? {} : { fs: fsDevices }),
  };
}

/** Memory that the VMM fills from the snapshot and that may grow, also where the saved VM had it from a file. Pure. */
export function withOwnMemory(config: VmConfig): VmConfig {
  const { zones, ...memory } = config.memory;
  const [only, ...more] = zones ?? [];
  if (only === undefined) return config;
  if (only.id === zoneId && more.length === 0) return { ...config, memory: { ...memory, size: only.size } };
  const own = [only, ...more].map(({ file: _file, ...zone }) => ({ ...zone, shared: false }));
  return { ...config, memory: { ...memory, zones: own } };
}
