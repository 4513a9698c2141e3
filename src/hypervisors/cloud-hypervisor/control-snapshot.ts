import { closeSync, constants, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { chmod, rm } from 'node:fs/promises';
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
import { memoryBytesIn, savedFiles, type SavedMachine, savedParts, writeSaved } from './state-saved.ts';
import type { VmConfig } from './wire.ts';

const mib = 2 ** 20;

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
    // What a VMM with a uid of its own may read it opens, where it would get a copy.
    if (await isClosed(target)) await chmod(savedFiles(target, {})['memory-ranges'], 0o644);
    const memoryBytes = await memoryBytesIn(target);
    await writeSaved(target, { schema: 1, ...machine, memoryBytes });
    return memoryBytes;
  } catch (error) {
    for (const part of savedParts) await rm(path.join(target, part), { force: true });
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
 * Whether memory of a snapshot can be read when it is used. Not memory that other processes map as well: nobody would bring what they use
 * first. Memory that is mapped (`apart`) needs none of this.
 */
export function bringsOnDemand({ config }: Pick<VmContext, 'config'>, { apart }: Pick<SavedMachine, 'apart'>): boolean {
  if (apart !== undefined || isShared(config) || config.hugePages) return false;
  try {
    closeSync(openSync(pageFaults, constants.O_RDWR));
    return true;
  } catch {
    // Not there, or not ours to use: all of it is read at once.
    return false;
  }
}

/** What a Cloud Hypervisor opens that goes on from a snapshot. */
export function openedBy(
  folder: string,
  { apart, onDemand }: Pick<SavedMachine, 'apart'> & { onDemand: boolean },
): PlannedPath[] {
  const files = Object.values(savedFiles(folder, { apart })).map((path): PlannedPath => ({ path, access: 'read' }));
  return onDemand ? [...files, { path: pageFaults, access: 'write' }] : files;
}

/**
 * Makes a snapshot ready for a new Cloud Hypervisor, which need not run yet: its memory and state as they are, its configuration with the paths of the new VM.
 * @returns the folder to restore from
 * @throws {VmError} FILE_INVALID when the configuration in it can't be read, IO
 */
export function openSnapshot(
  context: VmContext,
  { devices, apart, onDemand }: Pick<SavedMachine, 'devices' | 'apart'> & { onDemand: boolean },
  source: string,
): string {
  const places = savedFiles(source, { apart });
  const file = places['config.json'];
  let config: VmConfig;
  try {
    const saved = JSON.parse(readFileSync(file, 'utf8')) as VmConfig;
    const opened = openedBy(source, { apart, onDemand });
    const memory = apart === undefined ? undefined : places['memory-ranges'];
    config = withMemory(relocated(saved, context, devices, opened), memory);
  } catch (error) {
    throw VmError.from(error, 'FILE_INVALID', { path: file });
  }
  try {
    const folder = makePassage(context.runtimeFolder);
    writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config), { mode: 0o644 });
    symlinkSync(places['state.json'], path.join(folder, 'state.json'));
    if (apart === undefined) symlinkSync(places['memory-ranges'], path.join(folder, 'memory-ranges'));
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

/**
 * Memory in a file is mapped privately: nobody else sees what is written to it. Without one it is in the snapshot, also where the saved VM had
 * it from a file. Pure.
 */
export function withMemory(config: VmConfig, file: string | undefined): VmConfig {
  const { zones, ...memory } = config.memory;
  if (zones === undefined || zones === null) return config;
  const own = zones.map(({ file: _former, ...zone }) => ({
    ...zone,
    ...(file === undefined ? {} : { file }),
    shared: false,
  }));
  return { ...config, memory: { ...memory, zones: own } };
}
