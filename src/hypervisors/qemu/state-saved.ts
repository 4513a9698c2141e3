import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import type { Passed } from '../../transports/file-stream.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { VmContext } from '../hypervisor.ts';
import type { MemoryModule } from '../memory-modules.ts';
import { cpuPlaces, isFilled } from './control-cpus.ts';
import { memoryModules } from './control-memory.ts';
import { type Placed, plugsCpus } from './devices-place.ts';
import type { MachineInfo, RunState, StatusInfo } from './wire.ts';

/** What is beside the stream of a saved VM: the machine into which it must be loaded again. */
export interface SavedMachine {
  schema: 1;
  /** of the QEMU that saved it */
  version: string;
  /** with its version, such as `pc-q35-7.2`: the guest must find the same machine in a newer QEMU */
  machineType: string;
  /** it bounds the memory that can be plugged, and with it the machine's addresses */
  hostMemoryMiB: number;
  /** vCPUs at start, without those that were unplugged since */
  vcpus: number;
  pluggedCpus: { place: number; type: string; props: Readonly<Record<string, number>> }[];
  modules: (MemoryModule & { addr: number })[];
  /** those that were added, by then */
  devices: readonly Placed[];
  /** its stream does not say that it stands still: a QEMU that is not told to wait lets it go on */
  goesOn?: boolean | undefined;
  /** the file with devices, and with memory unless that is a file of its own */
  stream: Passed;
  /** names of files in the same folder, or absolute: memory that VMs share which go on from here, and the stream */
  apart?: { memory: string; stream: string } | undefined;
}

/** Names of a saved VM's files. */
export const savedNames = { machine: 'qemu.json', stream: 'qemu.state', memory: 'qemu.memory' } as const;

/** Where the stream of a saved VM is. */
export function streamFile(folder: string): string {
  return path.join(folder, savedNames.stream);
}

/** Where the parts of a saved VM are. */
export function savedFiles(folder: string, { apart }: SavedMachine): { stream: string; memory?: string | undefined } {
  if (apart === undefined) return { stream: streamFile(folder) };
  return { stream: path.resolve(folder, apart.stream), memory: path.resolve(folder, apart.memory) };
}

/** What a QEMU that runs is made of, as far as that isn't in the configuration. */
export async function describeMachine(
  qmp: QmpClient,
  { config, hostMemoryMiB }: Pick<VmContext, 'config' | 'hostMemoryMiB'>,
  devices: readonly Placed[],
  call: CallOptions,
): Promise<Omit<SavedMachine, 'stream'>> {
  const { major, minor, micro } = (await qmp.greeted).version.qemu;
  // Where none can be plugged QEMU knows of no places.
  const places = plugsCpus(config.machineType) ? await cpuPlaces(qmp, call) : undefined;
  const filled = [...(places ?? []).entries()].filter(([, cpu]) => isFilled(cpu));
  const pluggedCpus = filled
    .filter(([, cpu]) => cpu['qom-path']?.startsWith('/machine/peripheral/') === true)
    .map(([place, { type, props }]) => ({ place, type, props }));
  return {
    schema: 1,
    version: `${major}.${minor}.${micro}`,
    machineType: await versionedMachine(qmp, config.machineType ?? 'q35', call),
    hostMemoryMiB,
    vcpus: places === undefined ? config.vcpus : filled.length - pluggedCpus.length,
    pluggedCpus,
    modules: await memoryModules(qmp, call),
    devices,
    goesOn: goesOnByItself((await qmp.execute<StatusInfo>('query-status', undefined, call)).status),
  };
}

/** Of these two states nothing is in the stream, as the plan asks for (migration/global_state.c in QEMU). */
function goesOnByItself(status: RunState): boolean {
  return status === 'paused' || status === 'running';
}

/** Where the machine of a saved VM is described. */
export function machineFile(folder: string): string {
  return path.join(folder, savedNames.machine);
}

/** The same of a template, beside its device state. */
export function besideState(devicesStatePath: string): string {
  return `${devicesStatePath}.json`;
}

export async function writeSaved(file: string, saved: SavedMachine): Promise<void> {
  try {
    await writeFile(file, `${JSON.stringify(saved, undefined, 2)}\n`, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    throw VmError.from(error, 'IO', { path: file });
  }
}

/** @throws {VmError} FILE_NOT_FOUND, STATE_INVALID when this is no VM that this version saved */
export async function readSaved(file: string): Promise<SavedMachine> {
  let saved: Partial<SavedMachine> | null;
  try {
    saved = JSON.parse(readFileSync(file, 'utf8')) as Partial<SavedMachine> | null;
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new VmError(missing ? 'FILE_NOT_FOUND' : 'STATE_INVALID', `${file} cannot be read`, {
      path: file,
      cause: error,
    });
  }
  if (!isSaved(saved)) throw new VmError('STATE_INVALID', `${file} is not what this version writes`, { path: file });
  return saved;
}

/**
 * Devices alone, which are small: read as a whole, so that QEMU sees none of them unless all are what was saved.
 * @throws {VmError} FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID
 */
export async function readStream(file: string, saved: Pick<SavedMachine, 'stream'>): Promise<Uint8Array> {
  let stream: Buffer;
  try {
    stream = readFileSync(file);
  } catch (cause) {
    const { code: errno, message } = cause as NodeJS.ErrnoException;
    const code = errno === 'ENOENT' ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE';
    throw new VmError(code, `${file}: ${message}`, { path: file, errno, cause });
  }
  requireSame(createHash('sha256').update(stream).digest('hex'), file, saved);
  return stream;
}

/** @throws {VmError} FILE_INVALID when a stream is not what was saved */
export function requireSame(sha256: string, file: string, { stream }: Pick<SavedMachine, 'stream'>): void {
  if (sha256 === stream.sha256) return;
  throw new VmError('FILE_INVALID', 'the saved state is damaged: its checksum is wrong', { path: file });
}

function isSaved(saved: Partial<SavedMachine> | null): saved is SavedMachine {
  return (
    saved?.schema === 1 &&
    typeof saved.machineType === 'string' &&
    Number.isInteger(saved.hostMemoryMiB) &&
    Number.isInteger(saved.vcpus) &&
    Array.isArray(saved.pluggedCpus) &&
    Array.isArray(saved.modules) &&
    Array.isArray(saved.devices) &&
    typeof saved.stream?.sha256 === 'string' &&
    (saved.apart === undefined || (isName(saved.apart?.memory) && isName(saved.apart.stream)))
  );
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

/** `q35` means another machine in each version of QEMU. */
async function versionedMachine(qmp: QmpClient, machineType: string, call: CallOptions): Promise<string> {
  const machines = await qmp.execute<MachineInfo[]>('query-machines', undefined, call);
  return machines.find(({ alias }) => alias === machineType)?.name ?? machineType;
}
