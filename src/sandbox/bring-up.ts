import { rm } from 'node:fs/promises';
import type { CallOptions } from '../config/call-options.ts';
import { throughForKeeper } from '../confinement/confinement.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import { assetPath } from '../config/assets.ts';
import type { HostFacts } from '../config/host.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { Hypervisor, HypervisorModule } from '../hypervisors/hypervisor.ts';
import { manage } from '../hypervisors/lifecycle.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import { type HeldLock, lock } from '../state/lock.ts';
import type { VmRecord } from '../state/record.ts';
import { type NewVm, VmStore } from '../state/store.ts';
import { type Places, runtimeFolder, vmFiles } from '../state/paths.ts';
import type { Keeper } from '../transports/process/keeper.ts';
import type { AgentLink } from './agent-link.ts';
import { awaitGuest, turnedMac } from './boot.ts';
import { writeAttached } from './attached.ts';
import { contextOf, storeConfig } from './context.ts';
import { bringIn } from './bring-in.ts';
import { asAttached, type CopiedFolder } from './copied-folders.ts';
import type { AttachedDevice } from './device-spec.ts';
import type { Phase } from './events.ts';
import { folderDisk } from './folder-image.ts';
import { endForwarder } from './forwarder.ts';
import { setUpInGuest } from './guest-devices.ts';
import { unpackImage } from './root-image.ts';
import { HeldVm } from './held-vm.ts';
import { noteEvent } from './life-events.ts';
import { pruneEach } from './prune.ts';
import { removeFiles } from './remove-files.ts';
import type { Scratch } from './scratch.ts';
import { scratchDisk } from './scratch-disk.ts';
import { expectNext, stageNext, takeStaged } from './spare-vm.ts';
import { stage, type StagedVm, unstage } from './staged-vm.ts';

/** A VM that is to be: everything about it has been decided. */
export interface VmToBe {
  at: Places;
  host: HostFacts;
  module: HypervisorModule;
  config: HypervisorConfig;
  accel: 'kvm' | 'tcg';
  name: string;
  image?: string | undefined;
  imageConfig?: RootConfig | undefined;
  scratch?: Scratch | undefined;
  folders?: readonly CopiedFolder[] | undefined;
  networkNamespace?: string | undefined;
  confinement?: ConfinementLevel | undefined;
  cpuLimit?: number | undefined;
  startTimeoutMs?: number | undefined;
  /** folder of a snapshot, of which the guest goes on; it boots otherwise */
  restoreFrom?: string | undefined;
  /** the memory in there is mapped, not read */
  memoryShared?: boolean | undefined;
  /** it is not, also where the VMM would map it: it is to grow */
  growable?: boolean | undefined;
  /** what the agent of a saved guest can do that stands between two frames */
  agentFeatures?: ReadonlySet<string> | undefined;
  /** its source goes on, too: what is told apart by addresses of network cards has to get others */
  freshMacs?: boolean | undefined;
  /** what it starts with beside what the configuration says */
  devices?: readonly AttachedDevice[] | undefined;
  /** what it has at first; what the configuration says, if absent */
  size?: { vcpus?: number | undefined; memoryMiB?: number | undefined } | undefined;
}

/** A VM whose guest answers. */
export interface RunningVm {
  held: HeldVm;
  store: VmStore;
  record: VmRecord;
  hypervisor: Hypervisor;
  link: AgentLink;
}

/** How a VM that has its folders is started. */
export interface BootOptions {
  /** folder of a snapshot, of which the guest goes on; it boots otherwise */
  restoreFrom?: string | undefined;
  /** the memory in there is mapped, not read */
  memoryShared?: boolean | undefined;
  /** it is not, also where the VMM would map it: it is to grow */
  growable?: boolean | undefined;
  /** what the agent of a saved guest can do that stands between two frames */
  agentFeatures?: ReadonlySet<string> | undefined;
  /** its source goes on, too: what is told apart by addresses of network cards has to get others */
  freshMacs?: boolean | undefined;
  accel: 'kvm' | 'tcg';
  /** milliseconds; by accelerator when absent */
  startTimeoutMs?: number | undefined;
  /** what it starts with; with a snapshot, what it had */
  devices?: readonly AttachedDevice[] | undefined;
  /** waits for the VMM already */
  keeper?: Keeper | undefined;
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
  const held = await setUp(vm, report, { starts: true });
  // Who waits for this VM waits for this lock, which also ends with this process.
  let busy: HeldLock | undefined;
  try {
    busy = await lock(held.context.stateFolder, lifeLock, call);
    const { record, link } = await bootUp(held, { ...vm, keeper: held.keeper }, report, call);
    await held.unwatch();
    expectNext({ store: held.store, through: await throughFor(vm) });
    return { held, store: held.store, record, hypervisor: held.hypervisor, link };
  } catch (error) {
    await tearDown(held);
    throw VmError.from(error).with({ name: vm.name });
  } finally {
    await busy?.release();
  }
}

/** Name of the lock that is held while a VM is on its way up. */
export const lifeLock = 'life';

/**
 * Makes a VM's folders and writes down its configuration; starts nothing. Nothing is left behind when it fails, or when this process is
 * killed before the VM's `unwatch`.
 * @param options starts: its VMM is to be started next, and its keeper prepares for that
 * @throws {VmError} NAME_IN_USE, PERMISSION, START_FAILED, IO
 */
export async function setUp(
  vm: VmToBe,
  report: (phase: Phase, message: string) => void,
  options: { starts?: boolean } = {},
): Promise<HeldVm> {
  const { starts = false } = options;
  const store = new VmStore(vm.at);
  report('create', `creating ${vm.name}`);
  const keeping = { store, through: await throughFor(vm) };
  const staged = starts ? await takeStaged(keeping, vm.name) : await stage(keeping, vm.name);
  try {
    return await makeFolders(vm, store, staged, starts, report);
  } catch (error) {
    await unstage(staged);
    throw error;
  }
}

/** The command through which the keeper's second part is run. */
async function throughFor({ module, config, confinement = 'off' }: VmToBe): Promise<readonly string[]> {
  return throughForKeeper(module.confinesItself?.(config) === true ? 'off' : confinement);
}

async function makeFolders(
  vm: VmToBe,
  store: VmStore,
  { id, keeper, folder }: StagedVm,
  starts: boolean,
  report: (phase: Phase, message: string) => void,
): Promise<HeldVm> {
  const { module, config, accel, name } = vm;
  const { vcpus, memoryMiB } = { ...config, ...vm.size };
  const image = vm.image === undefined ? {} : { image: vm.image };
  const decided = { id, name, hypervisor: module.type, accel, vcpus, memoryMiB, ...image };
  const record = await reserve(store, decided, folder, report);
  let held: HeldVm;
  try {
    const context = contextOf(store, record, vm, vm.host.memoryMiB);
    keeper.moved(context.stateFolder);
    if (starts) keeper.settle();
    held = new HeldVm(store, context, manage(module, context), { ...vm, keeper });
  } catch (error) {
    await removeFiles(store, record);
    throw error;
  }
  try {
    await noteEvent(store, record, 'created', {});
    await storeConfig(store.folder(name), vm);
    return held;
  } catch (error) {
    await tearDown(held);
    throw error;
  }
}

/** Starts the VMM of a VM that has its folders, and waits for its guest. When that fails, the caller clears up. */
export async function bootUp(
  held: HeldVm,
  {
    accel,
    startTimeoutMs,
    restoreFrom,
    memoryShared,
    growable,
    agentFeatures,
    freshMacs = false,
    devices: given = [],
    keeper,
  }: BootOptions,
  report: (phase: Phase, message: string) => void,
  call: CallOptions,
): Promise<{ record: VmRecord; link: AgentLink }> {
  const { hypervisor, context } = held;
  const devices = freshMacs ? given.map((one) => withOwnMac(one, held.id)) : given;
  const { accels, unpacksImage } = await loadDriver(hypervisor.type);
  const image = assetPath(context.config, 'image');
  if (unpacksImage === true && image !== undefined) {
    const lost = await unpackImage(image, vmFiles.root(context.stateFolder), call);
    if (lost > 0) report('create', `${lost} files of ${image} have lost extended attributes (docs/images.md)`);
  }
  await hypervisor.create({ ...call, keeper });
  const disk = held.scratch && (await scratchDisk(context.stateFolder, held.scratch, call));
  if (disk !== undefined) await hypervisor.addDevice(disk);
  for (const folder of held.folders.filter(({ as }) => as === 'image'))
    await hypervisor.addDevice(await folderDisk(context.stateFolder, folder, call));
  // A snapshot has those that there were.
  if (restoreFrom === undefined) for (const { device } of devices) await hypervisor.addDevice(device);
  await writeAttached(context.stateFolder, [...devices, ...held.folders.map(asAttached)]);
  report('start', `starting ${hypervisor.type}${accels.length > 0 ? ` (${accel})` : ''}`);
  if (restoreFrom !== undefined) {
    let unwatched: Promise<void> | undefined;
    const goOn = async (): Promise<void> => {
      const found = await hypervisor.restore(restoreFrom, { ...call, goOn: true, growable });
      unwatched = held.unwatch();
      unwatched.catch(() => undefined);
      if (found === 'paused') await hypervisor.resume(call);
    };
    // Who talks with it before it is loaded waits for that, too: only where that takes no time, and where it would be heard.
    const early = memoryShared === true && hypervisor.channels()[0]?.survivesRestore === true;
    if (!early) await goOn();
    // The mock's guest is the host, with the host's cards.
    const cards =
      freshMacs && hypervisor.capabilities().isolation === true && devices.some(({ device }) => device.kind === 'net');
    const facts = { accel, startTimeoutMs, agentFeatures, freshMacs: cards };
    const up = await wakeUp(held, facts, call, early ? goOn : async () => undefined);
    await unwatched;
    return up;
  }
  await hypervisor.start(call);
  // From here on its keeper sees to its end. That the watch ends takes a moment, in which the guest boots.
  const unwatched = held.unwatch();
  unwatched.catch(() => undefined);
  const { stateFolder, name } = context;
  // The channel is taken before anyone can read that the VM runs: nobody has said a word on it.
  let linking!: Promise<AgentLink>;
  await new Promise<void>((resolve) => {
    const facts = { accel, stateFolder, name, startTimeoutMs, fresh: true, onChannel: resolve };
    linking = awaitGuest(hypervisor, facts, call);
    linking.then(
      () => resolve(),
      () => resolve(),
    );
  });
  const vmm = hypervisor.process();
  const state = { status: 'running', vmm, driver: await hypervisor.saveState() } as const;
  let record: VmRecord;
  try {
    record = await held.change(state);
    report('boot', 'booting the guest');
    // The guest may have answered already.
    call.signal?.throwIfAborted();
  } catch (error) {
    // The caller ends the VMM, and with it the wait.
    void linking.then(
      (link) => link.close(),
      () => undefined,
    );
    throw error;
  }
  const link = await linking;
  await unwatched;
  try {
    for (const attached of devices) await setUpInGuest(link.agent, attached, context.config, call);
    await bringIn(context.stateFolder, link.agent, held.folders, call);
  } catch (error) {
    await link.close();
    throw error;
  }
  await noteEvent(held.store, record, 'started', { pid: vmm?.pid ?? 0 });
  return { record, link };
}

/**
 * Lets a restored guest go on, and makes it a machine of its own. Nobody can find out that it runs before it is one. When that fails, the
 * caller clears up.
 * @param goOn what lets it go on; it may be that its VMM is only started by it
 */
export async function wakeUp(
  held: HeldVm,
  { accel, ...known }: Pick<BootOptions, 'accel' | 'startTimeoutMs' | 'agentFeatures' | 'freshMacs'>,
  call: CallOptions,
  goOn: () => Promise<void> = () => held.hypervisor.resume(call),
): Promise<{ record: VmRecord; link: AgentLink }> {
  const { hypervisor, context, id } = held;
  const { stateFolder, name } = context;
  // What is said to it now waits for it: it answers as soon as it goes on.
  const over = new AbortController();
  const signal = call.signal === undefined ? over.signal : AbortSignal.any([call.signal, over.signal]);
  let letWait!: () => void;
  const started = new Promise<void>((resolve) => (letWait = resolve));
  const facts = { startTimeoutMs: undefined, ...known, accel, stateFolder, name, machineFrom: id, started };
  const linking = awaitGuest(hypervisor, facts, { signal });
  const unused = linking.then(
    (link) => (over.signal.aborted ? link.close() : undefined),
    () => undefined,
  );
  try {
    await goOn();
    letWait();
  } catch (error) {
    over.abort();
    await unused;
    throw error;
  }
  const link = await linking;
  try {
    const vmm = hypervisor.process();
    const record = await held.change({ status: 'running', vmm, driver: await hypervisor.saveState() });
    await noteEvent(held.store, record, 'started', { pid: vmm?.pid ?? 0 });
    return { record, link };
  } catch (error) {
    await link.close();
    throw error;
  }
}

/** A device whose address was chosen, with the one that it has in this VM. */
function withOwnMac(attached: AttachedDevice, id: string): AttachedDevice {
  const { device } = attached;
  if (device.kind !== 'net' || device.mac === undefined) return attached;
  return { ...attached, device: { ...device, mac: turnedMac(device.mac, id) } };
}

/** Reserves the name; one that only a dead process's remains hold is free. */
async function reserve(
  store: VmStore,
  vm: NewVm,
  staged: string | undefined,
  report: (phase: Phase, message: string) => void,
): Promise<VmRecord> {
  // Nobody else may ever ask for it: what dead processes left goes with the next VM. What can't be cleared now is no reason to
  // refuse this one, unless it holds the name.
  const { failures } = await pruneEach();
  for (const { facts, message } of failures) report('create', `${facts.name} is dead and can't be cleared: ${message}`);
  const inTheWay = failures.find(({ facts }) => facts.name === vm.name);
  if (inTheWay !== undefined) throw inTheWay;
  return store.create(vm, staged);
}

/** As `tearDown`, of a VM whose agent there is a session with. */
export async function bringDown({ held, link }: Pick<RunningVm, 'held' | 'link'>): Promise<void> {
  await link.close();
  await tearDown(held);
}

/** Ends a VM if it runs, and removes everything of it. A later VM of the same name is left alone. */
export async function tearDown(held: HeldVm): Promise<void> {
  stageNext();
  // Without it an owner that is killed right now leaves some files to the next `prune`; it is no reason to leave all of them.
  await held.watch().catch(() => undefined);
  try {
    await endAndRemove(held);
  } finally {
    await held.unwatch();
  }
}

async function endAndRemove(held: HeldVm): Promise<void> {
  const { store } = held;
  const found = await held.locate().then(
    async (record) => {
      await endForwarder(record);
      return true;
    },
    (error: unknown) => {
      const { code } = VmError.from(error);
      if (code !== 'NOT_FOUND' && code !== 'STATE_INVALID') throw error;
      // One that can't be read still is the one that had this name.
      return code === 'STATE_INVALID';
    },
  );
  // Only now: it may be another one than before, if another handle has started the VM anew.
  const { hypervisor } = held;
  if (hypervisor.state === 'running' || hypervisor.state === 'paused') await hypervisor.kill();
  await hypervisor.cleanup();
  if (found) await removeFiles(store, { name: held.name, id: held.id });
  // A record that can't be read does not say where this is.
  await rm(runtimeFolder(store.places, held.id), { recursive: true, force: true });
}
