import { readFile } from 'node:fs/promises';
import type { ConfinementLevel } from '../confinement/level.ts';
import { cliProgram } from '../config/package-files.ts';
import { readHostFacts } from '../config/host.ts';
import { parseHypervisorType } from '../config/hypervisor-type.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { HypervisorModule, VmContext } from '../hypervisors/hypervisor.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import { writeUnflushed } from '../state/atomic-file.ts';
import { vmFiles } from '../state/paths.ts';
import type { VmRecord } from '../state/record.ts';
import type { VmStore } from '../state/store.ts';
import type { CopiedFolder } from './copied-folders.ts';
import type { AttachedDevice } from './device-spec.ts';
import type { Scratch } from './scratch.ts';

/** What a VM is made of beside its record. */
export interface VmSettings {
  config: HypervisorConfig;
  networkNamespace?: string | undefined;
  confinement?: ConfinementLevel | undefined;
  cpuLimit?: number | undefined;
  /** what it starts with each time */
  devices?: readonly AttachedDevice[] | undefined;
  /** what the image that it was made of says of its commands */
  imageConfig?: RootConfig | undefined;
  /** the layer above its root image; the usual one when absent */
  scratch?: Scratch | undefined;
  /** of this host, which its VMM doesn't share */
  folders?: readonly CopiedFolder[] | undefined;
}

/** What is kept beside a VM's record, so that any process can make its context again. */
interface StoredConfig extends VmSettings {
  schema: 1;
}

/**
 * Writes down a VM's complete configuration. The kernel takes its time to bring it to the disk, half a minute at most: a VM that ran
 * when the host crashed is not there to be configured any more.
 */
export async function storeConfig(folder: string, settings: VmSettings): Promise<void> {
  const { config, networkNamespace, confinement, cpuLimit, devices, imageConfig, scratch, folders } = settings;
  const stored: StoredConfig = {
    schema: 1,
    config,
    networkNamespace,
    confinement,
    cpuLimit,
    devices,
    imageConfig,
    scratch,
    folders,
  };
  await writeUnflushed(vmFiles.config(folder), `${JSON.stringify(stored, undefined, 2)}\n`);
}

/** Removes what dead processes left. */
export const pruneCommand: readonly string[] = [process.execPath, cliProgram, 'prune'];

/** The same of one VM. By its id: it may get another name. */
export function pruneCommandFor(id: string): readonly string[] {
  return [...pruneCommand, '--id', id];
}

/** The context of a VM whose record and configuration are known. */
export function contextOf(store: VmStore, record: VmRecord, stored: VmSettings, hostMemoryMiB: number): VmContext {
  return {
    id: record.id,
    name: record.name,
    config: stored.config,
    accel: record.accel === 'kvm' ? 'kvm' : 'tcg',
    hostMemoryMiB,
    networkNamespace: stored.networkNamespace,
    confinement: stored.confinement,
    cpuLimit: stored.cpuLimit,
    runtimeFolder: record.runtimeFolder,
    stateFolder: store.folder(record.name),
    pruneArgv: pruneCommandFor(record.id),
  };
}

/** A VM as it was configured. */
export interface Recalled {
  module: HypervisorModule;
  context: VmContext;
  devices: readonly AttachedDevice[];
  imageConfig: RootConfig | undefined;
  scratch: Scratch | undefined;
  folders: readonly CopiedFolder[];
}

/** Finds the driver and the context of a VM on disk. @throws {VmError} STATE_INVALID, UNSUPPORTED */
export async function recall(store: VmStore, record: VmRecord): Promise<Recalled> {
  const path = vmFiles.config(store.folder(record.name));
  let stored: StoredConfig | null;
  try {
    stored = JSON.parse(await readFile(path, 'utf8')) as StoredConfig | null;
  } catch (error) {
    throw new VmError('STATE_INVALID', `the configuration of ${record.name} cannot be read`, {
      path,
      name: record.name,
      cause: error,
    });
  }
  if (stored?.schema !== 1)
    throw new VmError('STATE_INVALID', `${path} was written by another version`, { path, name: record.name });
  const [module, host] = await Promise.all([loadDriver(parseHypervisorType(record.hypervisor)), readHostFacts()]);
  const { devices = [], imageConfig, scratch, folders = [] } = stored;
  return { module, context: contextOf(store, record, stored, host.memoryMiB), devices, imageConfig, scratch, folders };
}
