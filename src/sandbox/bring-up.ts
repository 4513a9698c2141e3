import { rm } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import type { HostFacts } from '../config/host.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { Hypervisor, HypervisorModule } from '../hypervisors/hypervisor.ts';
import { manage } from '../hypervisors/lifecycle.ts';
import type { VmRecord } from '../state/record.ts';
import { type NewVm, VmStore } from '../state/store.ts';
import { type Places, runtimeFolder } from '../state/paths.ts';
import type { AgentLink } from './agent-link.ts';
import { awaitGuest } from './boot.ts';
import { contextOf, storeConfig } from './context.ts';
import type { Phase } from './events.ts';
import { prune } from './prune.ts';

/** A VM that is to be: everything about it has been decided. */
export interface VmToBe {
  at: Places;
  host: HostFacts;
  module: HypervisorModule;
  config: HypervisorConfig;
  accel: 'kvm' | 'tcg';
  name: string;
  image?: string | undefined;
  networkNamespace?: string | undefined;
  startTimeoutMs?: number | undefined;
}

/** A VM whose guest answers. */
export interface RunningVm {
  store: VmStore;
  record: VmRecord;
  hypervisor: Hypervisor;
  link: AgentLink;
}

/**
 * Makes the VM's folders, starts its VMM and waits for its guest. When any of it fails everything is removed again.
 * @throws {VmError} NAME_IN_USE, HYPERVISOR_NOT_FOUND, HYPERVISOR_TOO_OLD, START_FAILED, START_TIMEOUT, GUEST_PANICKED, ABORTED
 */
export async function bringUp(
  vm: VmToBe,
  report: (phase: Phase, message: string) => void,
  call: CallOptions,
): Promise<RunningVm> {
  const { module, config, accel, name, networkNamespace, startTimeoutMs } = vm;
  const store = new VmStore(vm.at);
  report('create', `creating ${name}`);
  const image = vm.image === undefined ? {} : { image: vm.image };
  const record = await reserve(store, { name, hypervisor: module.type, accel, ...image });
  const hypervisor = manage(module, contextOf(store, record, { config, networkNamespace }, vm.host.memoryMiB));
  try {
    await storeConfig(store.folder(name), config, networkNamespace);
    await hypervisor.create(call);
    report('start', `starting ${module.type}${module.usesAccel ? ` (${accel})` : ''}`);
    await hypervisor.start(call);
    const running = { status: 'running', vmm: hypervisor.process(), driver: await hypervisor.saveState() } as const;
    const started = await store.update(name, running, call);
    report('boot', 'booting the guest');
    const link = await awaitGuest(hypervisor, { accel, stateFolder: store.folder(name), name, startTimeoutMs }, call);
    return { store, record: started, hypervisor, link };
  } catch (error) {
    await tearDown(store, record, hypervisor);
    throw VmError.from(error).with({ name });
  }
}

/** Reserves the name; one that only a dead process's remains hold is free. */
async function reserve(store: VmStore, vm: NewVm): Promise<VmRecord> {
  try {
    return await store.create(vm);
  } catch (error) {
    if (VmError.from(error).code !== 'NAME_IN_USE') throw error;
    // A record that can't be read may belong to a VM that runs: its name stays taken.
    const cleared = await prune(vm.name).catch(() => []);
    if (cleared.length === 0) throw error;
    return store.create(vm);
  }
}

/** Ends a VM if it runs, and removes everything of it. A later VM of the same name is left alone. */
export async function tearDown(
  store: VmStore,
  vm: { id: string; name: string },
  hypervisor: Hypervisor,
): Promise<void> {
  if (hypervisor.state === 'running' || hypervisor.state === 'paused') await hypervisor.kill();
  await hypervisor.cleanup();
  const record = await store.read(vm.name).catch(() => undefined);
  if (record === undefined || record.id === vm.id) await store.remove(vm.name);
  // A record that can't be read does not say where this is.
  await rm(runtimeFolder(store.places, vm.id), { recursive: true, force: true });
}
