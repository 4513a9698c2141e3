import { callScope, type CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { VmError } from '../errors.ts';
import { TemplateStore } from '../factory/template-store.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { readHostFacts } from '../config/host.ts';
import { readPlugged } from './attached.ts';
import { bringDown, bringUp, type RunningVm, type VmToBe } from './bring-up.ts';
import { chooseConfinement } from './choose-confinement.ts';
import type { HeldVm } from './held-vm.ts';
import type { OpenedVm } from './opened-vm.ts';
import { ordinaryConfig } from './ordinary-config.ts';
import { detachVm } from './ownership.ts';
import { pauseVm, resumeVm } from './pause-vm.ts';
import { refuseFolderImages } from './copied-folders.ts';
import { refuseScratchDisk } from './scratch.ts';
import { Telemetry } from './telemetry.ts';
import { madeUpName } from './vm-name.ts';

/** Most forks that are made at once: each boots a VMM. */
const maxForks = 256;
/** As many as are on their way at the same time. */
const atOnce = 4;

/** How a VM is forked. */
export interface ForkOptions extends CallOptions {
  /** names of the forks, one each; made up when absent */
  names?: readonly string[] | undefined;
  /** they outlive this process; default false */
  detached?: boolean | undefined;
  /** path of the network namespace in which their VMMs are started */
  networkNamespace?: string | undefined;
  /** as for `Vm.create` */
  confinement?: ConfinementLevel | undefined;
  cpuLimit?: number | undefined;
  /** hears for how many milliseconds the source stood still */
  onPause?: ((pauseMs: number) => void) | undefined;
}

/**
 * Makes VMs that go on where a VM is now. It stands still while it is saved, and goes on before the forks are started. On a VMM whose memory
 * is a file, the forks share a copy of that file, copy-on-write. When one fork fails none is left.
 * @throws {VmError} INVALID_ARGUMENT, INVALID_NAME, INVALID_STATE, UNSUPPORTED, NAME_IN_USE, VMM_FAILED, IO, TIMEOUT, ABORTED
 */
export async function forkVm(held: HeldVm, count: number, options: ForkOptions): Promise<OpenedVm[]> {
  const names = namesOf(count, options.names);
  const { detached = false, ...limits } = options;
  const scope = callScope(`fork of ${held.name}`, limits);
  const call = { signal: scope.signal };
  try {
    const record = await held.locate();
    const { imageConfig } = held;
    refuseScratchDisk(held.scratch, 'fork');
    refuseFolderImages(held.folders, 'fork');
    const { config, accel, stateFolder } = held.context;
    if (config.bootToBeTemplate)
      throw new VmError('INVALID_STATE', `${held.name} is to be a template: it is cloned, not forked`, {
        name: held.name,
        operation: 'fork',
      });
    const { vcpus, memoryMiB = config.memoryMiB, image } = record;
    const devices = await readPlugged(stateFolder);
    const store = new TemplateStore();
    const [host, module] = await Promise.all([readHostFacts(), loadDriver(held.hypervisor.type)]);
    const confinement = await chooseConfinement(module, options.confinement, () => undefined);
    const draft = await store.begin(`fork-${held.id}`, { memory: 'auto', memoryMiB });
    try {
      const folder = draft.data.path;
      const pauseMs = await save(held, folder, call);
      options.onPause?.(pauseMs);
      const { networkNamespace, cpuLimit } = options;
      const decided = {
        networkNamespace,
        cpuLimit,
        confinement,
        restoreFrom: folder,
        freshMacs: true,
        size: { vcpus, memoryMiB },
      };
      const toBe = {
        at: store.places,
        host,
        module,
        config: forkConfig(config),
        accel,
        image,
        imageConfig,
        devices,
        ...decided,
      };
      return await bringUpAll(
        names.map((name) => ({ ...toBe, name })),
        { detached },
        call,
      );
    } finally {
      // The forks have it open.
      await draft.discard();
    }
  } finally {
    scope.release();
  }
}

/** @returns how many milliseconds the VM stood still */
async function save(held: HeldVm, folder: string, call: CallOptions): Promise<number> {
  const ran = held.hypervisor.state === 'running';
  const began = performance.now();
  if (ran) await pauseVm(held, call);
  try {
    await held.hypervisor.save(folder, { ...call, forClones: true });
  } finally {
    // Also after a caller gave up: it had no paused VM before.
    if (ran) await resumeVm(held);
  }
  return ran ? performance.now() - began : 0;
}

async function bringUpAll(
  forks: readonly VmToBe[],
  { detached }: { detached: boolean },
  call: CallOptions,
): Promise<OpenedVm[]> {
  const telemetry = await Telemetry.open(undefined);
  const waiting = [...forks.entries()];
  const up: RunningVm[] = [];
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined && failures.length === 0; next = waiting.shift()) {
      const [at, fork] = next;
      try {
        const running = await bringUp(fork, () => undefined, call);
        up[at] = running;
        if (detached) await detachVm(running.held);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  if (failures.length === 0) return up.map(({ held, link }) => ({ held, link, owned: !detached, detached, telemetry }));
  // One that can't be removed stands in the list of VMs, and `prune` goes on: what the caller has to know is why there are no forks.
  await Promise.allSettled(up.map(bringDown));
  throw failures[0];
}

/** Its memory is what it shares with its source at first: no file of its own in that folder. */
function forkConfig(config: HypervisorConfig): HypervisorConfig {
  const { fileBackedMemRootDir: _folder, ...rest } = ordinaryConfig(config);
  return rest;
}

function namesOf(count: number, names: readonly string[] | undefined): string[] {
  if (!Number.isInteger(count) || count < 1 || count > maxForks)
    throw new VmError('INVALID_ARGUMENT', `a VM is forked 1 to ${maxForks} times, not ${count}`, { operation: 'fork' });
  if (names === undefined) return Array.from({ length: count }, madeUpName);
  if (names.length !== count)
    throw new VmError('INVALID_ARGUMENT', `${count} forks need as many names, not ${names.length}`, { field: 'names' });
  const valid = names.map(validateName);
  if (new Set(valid).size !== count)
    throw new VmError('INVALID_ARGUMENT', 'two forks can not have the same name', { field: 'names' });
  return valid;
}
