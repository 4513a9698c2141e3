import { chown, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { VmContext } from '../hypervisor.ts';
import type { PlannedPath } from '../launch-plan.ts';
import { moveFile } from '../move-file.ts';
import type { CloudHypervisorControl } from './control.ts';
import { deviceLists, type OwnDevice } from './devices.ts';
import { landlock } from './plan.ts';
import { memoryBytesIn, savedFiles, type SavedMachine, savedParts, writeSaved } from './state-saved.ts';
import type { VmConfig } from './wire.ts';

const mib = 2 ** 20;

/** Name of the folder in the VMM's own through which a snapshot goes: it may see no other. */
const passage = 'snapshot';

/**
 * Has Cloud Hypervisor write a paused VM into a folder.
 * @returns bytes of memory
 * @throws {VmError} VMM_FAILED, IO, TIMEOUT, ABORTED
 */
export async function saveSnapshot(
  control: CloudHypervisorControl,
  runtimeFolder: string,
  target: string,
  machine: Pick<SavedMachine, 'version' | 'devices'>,
  call: CallOptions,
): Promise<number> {
  const folder = await makePassage(runtimeFolder);
  try {
    await control.snapshot(folder, call);
    for (const part of savedParts) await moveFile(path.join(folder, part), path.join(target, part));
    const memoryBytes = await memoryBytesIn(target);
    await writeSaved(target, { schema: 1, ...machine, memoryBytes });
    return memoryBytes;
  } catch (error) {
    for (const part of savedParts) await rm(path.join(target, part), { force: true });
    throw VmError.from(error, 'IO', { path: target });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The same for a template: its memory stays in its file, and all else goes to where its configuration says.
 * @throws {VmError} VMM_FAILED, IO, TIMEOUT, ABORTED
 */
export async function saveTemplate(
  control: CloudHypervisorControl,
  { config, runtimeFolder }: Pick<VmContext, 'config' | 'runtimeFolder'>,
  target: string,
  machine: Pick<SavedMachine, 'version' | 'devices'>,
  call: CallOptions,
): Promise<void> {
  const { memoryPath = '', devicesStatePath = '', memoryMiB } = config;
  const apart = { memory: path.relative(target, memoryPath), state: path.relative(target, devicesStatePath) };
  const places = savedFiles(target, { apart });
  const folder = await makePassage(runtimeFolder);
  try {
    await control.snapshot(folder, call);
    for (const part of ['config.json', 'state.json'] as const) await moveFile(path.join(folder, part), places[part]);
    await writeSaved(target, { schema: 1, ...machine, memoryBytes: memoryMiB * mib, apart });
  } catch (error) {
    for (const part of ['config.json', 'state.json'] as const) await rm(places[part], { force: true });
    throw VmError.from(error, 'IO', { path: target });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Shows a snapshot to a new Cloud Hypervisor: its memory and state as they are, its configuration with the paths of the new VM.
 * @returns the folder to restore from
 * @throws {VmError} FILE_INVALID when the configuration in it can't be read, IO
 */
export async function openSnapshot(
  context: VmContext,
  { devices, apart }: Pick<SavedMachine, 'devices' | 'apart'>,
  source: string,
): Promise<string> {
  const folder = await makePassage(context.runtimeFolder);
  const places = savedFiles(source, { apart });
  const file = places['config.json'];
  try {
    const saved = JSON.parse(await readFile(file, 'utf8')) as VmConfig;
    const opened = Object.values(places).map((path): PlannedPath => ({ path, access: 'read' }));
    const config = withMemory(
      relocated(saved, context, devices, opened),
      apart === undefined ? undefined : places['memory-ranges'],
    );
    await writeFile(path.join(folder, 'config.json'), JSON.stringify(config), { mode: 0o644 });
  } catch (error) {
    throw VmError.from(error, 'FILE_INVALID', { path: file });
  }
  await symlink(places['state.json'], path.join(folder, 'state.json'));
  if (apart === undefined) await symlink(places['memory-ranges'], path.join(folder, 'memory-ranges'));
  return folder;
}

export async function closeSnapshot(runtimeFolder: string): Promise<void> {
  await rm(path.join(runtimeFolder, passage), { recursive: true, force: true });
}

/**
 * What was saved, at the places of another VM. What a list holds is what the guest found when it was saved. Pure.
 * @param opened files of the snapshot
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

async function makePassage(runtimeFolder: string): Promise<string> {
  const folder = path.join(runtimeFolder, passage);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  // A VMM with a uid of its own has its folder by that uid.
  const { uid, gid } = await stat(runtimeFolder);
  if (uid !== process.geteuid?.()) await chown(folder, uid, gid);
  return folder;
}
