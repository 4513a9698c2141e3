import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { readHostFacts } from '../config/host.ts';
import { parseHypervisorType } from '../config/hypervisor-type.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { VmError } from '../errors.ts';
import { markFolder } from '../factory/file-mark.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { places } from '../state/paths.ts';
import { readPlugged } from './attached.ts';
import type { VmToBe } from './bring-up.ts';
import { chooseConfinement } from './choose-confinement.ts';
import type { HeldVm } from './held-vm.ts';
import { ordinaryConfig } from './ordinary-config.ts';
import { pauseVm, resumeVm } from './pause-vm.ts';
import {
  assetHashes,
  checkAssets,
  checkSnapshot,
  readManifest,
  type SnapshotManifest,
  writeManifest,
} from './snapshot-manifest.ts';
import { refuseFolderImages } from './copied-folders.ts';
import { refuseScratchDisk } from './scratch.ts';
import { requireThere, snapshotFolder } from './snapshot-store.ts';
import { madeUpName } from './vm-name.ts';

/** How a VM is saved. */
export interface SnapshotOptions extends CallOptions {
  /** hears how many bytes of memory and devices have been written */
  onProgress?: ((bytes: number) => void) | undefined;
}

/** How a VM is made of a snapshot. */
export interface RestoreOptions extends CallOptions {
  /** of the new VM; one is made up when absent */
  name?: string | undefined;
  /** the VM outlives this process; default false */
  detached?: boolean | undefined;
  /** path of the network namespace in which the VMM is started */
  networkNamespace?: string | undefined;
  /** as for `Vm.create` */
  confinement?: ConfinementLevel | undefined;
  cpuLimit?: number | undefined;
  /** accept a snapshot that was signed with another key than this user's, such as one of another host; default false */
  trust?: boolean | undefined;
  /**
   * its memory is to grow later. A Cloud Hypervisor maps a snapshot's memory from its file, which is fast, and can't plug more then; with
   * this it reads it. Of no account to other VMMs. Default false
   */
  growable?: boolean | undefined;
}

/**
 * Saves a VM's memory and devices, under a name or into a new or empty folder. The VM stands still meanwhile, and goes on if it ran. Its disks are not part
 * of it: they must be as they are now when the snapshot is restored. Nothing is left in the folder when it fails.
 * @param folder a name, or a path with a slash in it
 * @throws {VmError} INVALID_ARGUMENT when the folder holds something; NAME_IN_USE; INVALID_STATE, UNSUPPORTED, VMM_FAILED with the VMM's reason, IO,
 *   TIMEOUT, ABORTED
 */
export async function saveVm(held: HeldVm, folder: string, options: SnapshotOptions): Promise<SnapshotManifest> {
  const { onProgress, ...limits } = options;
  const target = snapshotFolder(folder);
  const scope = callScope(`snapshot of ${held.name}`, limits);
  const call = { signal: scope.signal };
  try {
    const { image, vcpus, memoryMiB } = await held.locate();
    refuseScratchDisk(held.scratch, 'snapshot');
    refuseFolderImages(held.folders, 'snapshot');
    const made = await emptyFolder(target);
    const ran = held.hypervisor.state === 'running';
    try {
      const { config, accel } = held.context;
      const assets = await assetHashes(config);
      const devices = await readPlugged(held.context.stateFolder);
      if (ran) await pauseVm(held, call);
      try {
        await held.hypervisor.save(target, { ...call, onProgress });
      } finally {
        // Also after a caller gave up: it had no paused VM before.
        if (ran && !config.bootToBeTemplate) await resumeVm(held);
      }
      const manifest: SnapshotManifest = {
        schema: 1,
        createdAt: new Date().toISOString(),
        name: held.name,
        hypervisor: held.hypervisor.type,
        vmmVersion: await versionOf(held),
        accel,
        config: ordinaryConfig(config),
        image,
        imageConfig: held.imageConfig,
        size: { vcpus, memoryMiB },
        files: await markFolder(target, Number.POSITIVE_INFINITY),
        assets,
        devices,
      };
      await writeManifest(target, manifest);
      return manifest;
    } catch (error) {
      await clear(target, made);
      throw error;
    }
  } finally {
    scope.release();
  }
}

/**
 * What a VM is to be that goes on from a snapshot.
 * @throws {VmError} FILE_NOT_FOUND, FILE_INVALID when there is no snapshot, or a file it needs has changed; UNKNOWN_HYPERVISOR
 */
export async function vmOfSnapshot(folder: string, options: RestoreOptions): Promise<VmToBe> {
  const restoreFrom = snapshotFolder(folder);
  await requireThere(folder);
  const manifest = await readManifest(restoreFrom, { trust: options.trust });
  await checkSnapshot(restoreFrom, manifest);
  await checkAssets(manifest.assets);
  const { config, accel, image, imageConfig, size, devices } = manifest;
  const module = await loadDriver(parseHypervisorType(manifest.hypervisor));
  const host = await readHostFacts();
  const { name = madeUpName(), networkNamespace, cpuLimit } = options;
  const confinement = await chooseConfinement(module, options.confinement, () => undefined);
  const { growable } = options;
  const decided = { name, networkNamespace, confinement, cpuLimit, restoreFrom, growable };
  return { at: places(), host, module, config, accel, image, imageConfig, size, devices, ...decided };
}

/** As the program says it that is found now: the one that runs is the same, unless it was replaced since. */
async function versionOf({ hypervisor, context }: HeldVm): Promise<string | undefined> {
  const module = await loadDriver(hypervisor.type);
  const { hypervisorPath, arch } = context.config;
  return (await module.probe(await readHostFacts(), hypervisorPath, arch)).version;
}

/** @returns whether the folder was made */
async function emptyFolder(folder: string): Promise<boolean> {
  try {
    const made = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (made !== undefined) return true;
    if ((await readdir(folder)).length === 0) return false;
  } catch (error) {
    throw VmError.from(error, 'IO', { path: folder });
  }
  if (path.dirname(folder) === places().snapshots)
    throw new VmError('NAME_IN_USE', `there is a snapshot named ${path.basename(folder)} already`, { path: folder });
  throw new VmError('INVALID_ARGUMENT', `${folder} is not empty`, { path: folder, operation: 'save' });
}

async function clear(folder: string, made: boolean): Promise<void> {
  if (made) return rm(folder, { recursive: true, force: true });
  for (const name of await readdir(folder)) await rm(path.join(folder, name), { recursive: true, force: true });
}
