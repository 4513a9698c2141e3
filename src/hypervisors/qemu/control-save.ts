import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { Passed } from '../../transports/file-stream.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { SaveOptions, VmContext } from '../hypervisor.ts';
import { migrateToFile } from './control-migration.ts';
import { copyMemory, sharedMemoryFile } from './control-template.ts';
import { restorePlan } from './plan-restore.ts';
import { requireComplete } from './state-complete.ts';
import { readDevices } from './state-devices.ts';
import {
  besideState,
  describeMachine,
  machineFile,
  type SavedMachine,
  savedNames,
  streamFile,
  writeSaved,
} from './state-saved.ts';

/** What is saved, and where. */
export interface SaveScope {
  context: VmContext;
  binary: string;
  /** of QEMU */
  pid: number;
  folder: string;
}

type Saved = Pick<SavedMachine, 'stream' | 'apart'>;

/**
 * Saves a paused VM. A template's memory stays in its file; for clones memory that lies in a file is copied; else it goes through the stream.
 * @throws {VmError} UNSUPPORTED, VMM_FAILED, IO, HOST_MISSING, ABORTED, TIMEOUT; nothing is left then
 */
export async function saveMachine(qmp: QmpClient, scope: SaveScope, options: SaveOptions): Promise<void> {
  const { context, folder, binary } = scope;
  const machine = await describeMachine(qmp, context, await readDevices(context.stateFolder), options);
  await requireComplete(qmp, restorePlan(context, binary, machine), options);
  const saved = context.config.bootToBeTemplate
    ? await saveTemplate(qmp, scope, machine, options)
    : ((await copyForClones(qmp, scope, machine, options)) ?? { stream: await everything(qmp, scope, options) });
  await writeSaved(machineFile(folder), { ...machine, ...saved });
}

function everything(qmp: QmpClient, { context, folder }: SaveScope, options: SaveOptions): Promise<Passed> {
  const all = { ...options, withoutSharedMemory: false };
  return migrateToFile(qmp, vmmFiles.migration(context.runtimeFolder), streamFile(folder), all);
}

/** The machine is described beside the device state as well, for VMs that are told of these two files alone. */
async function saveTemplate(
  qmp: QmpClient,
  { context, folder }: SaveScope,
  machine: Omit<SavedMachine, 'stream'>,
  options: SaveOptions,
): Promise<Saved> {
  const { memoryPath = '', devicesStatePath = '' } = context.config;
  const socket = vmmFiles.migration(context.runtimeFolder);
  const stream = await migrateToFile(qmp, socket, devicesStatePath, { ...options, withoutSharedMemory: true });
  const from = (place: string): Saved => ({
    stream,
    apart: { memory: path.relative(place, memoryPath), stream: path.relative(place, devicesStatePath) },
  });
  await writeSaved(besideState(devicesStatePath), { ...machine, ...from(path.dirname(devicesStatePath)) });
  return from(folder);
}

/** @returns undefined when its memory is in no file that could be copied */
async function copyForClones(
  qmp: QmpClient,
  { context, folder, pid }: SaveScope,
  { modules }: Pick<SavedMachine, 'modules'>,
  options: SaveOptions,
): Promise<Saved | undefined> {
  const { config, runtimeFolder } = context;
  // What was plugged is in files of its own.
  if (options.forClones !== true || modules.length > 0 || config.virtioMem) return undefined;
  const source = await sharedMemoryFile(pid, config.memoryMiB);
  if (source === undefined) return undefined;
  const memory = path.join(folder, savedNames.memory);
  const scope = { ...options, withoutSharedMemory: true };
  // Both at once: the guest stands still meanwhile.
  const [streamed, copied] = await Promise.allSettled([
    migrateToFile(qmp, vmmFiles.migration(runtimeFolder), streamFile(folder), scope),
    copyMemory(source, memory, options),
  ]);
  if (streamed.status === 'fulfilled' && copied.status === 'fulfilled')
    return { stream: streamed.value, apart: { memory: savedNames.memory, stream: savedNames.stream } };
  for (const file of [memory, streamFile(folder)]) await rm(file, { force: true });
  throw streamed.status === 'rejected' ? streamed.reason : (copied as PromiseRejectedResult).reason;
}
