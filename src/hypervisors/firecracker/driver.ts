import { randomUUID } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { realpath, rm } from 'node:fs/promises';
import path from 'node:path';
import { assetPath } from '../../config/assets.ts';
import type { CallOptions } from '../../config/call-options.ts';
import { findCgroups } from '../../confinement/cgroup-host.ts';
import { VmError } from '../../errors.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import { takeUid } from '../../state/uid-range.ts';
import type { Capabilities } from '../capabilities.ts';
import { panicIn } from '../console-signs.ts';
import type { Device, DeviceKind } from '../device.ts';
import { agentPort, HybridVsock } from '../hybrid-vsock.ts';
import type {
  ConsoleLocation,
  CreateOptions,
  Driver,
  GuestChannel,
  GuestSocket,
  RestoreOptions,
  SaveOptions,
  StopOptions,
  VmContext,
  VmmExit,
} from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { ProgramDriver } from '../program-driver.ts';
import { requireSavable } from '../savable.ts';
import { makeRealtime } from '../thread-schedule.ts';
import { vcpuThreads } from '../vcpu-threads.ts';
import { processStatistics, type VmmStatistics } from '../vmm-statistics.ts';
import { capabilitiesFor } from './capabilities.ts';
import { FirecrackerControl } from './control.ts';
import { clearJail, giveFiles, insert, makeJail, takeOut, unmountedFolder, type WorkFolder } from './control-jail.ts';
import { type MemoryResize, resizeMemory } from './control-memory.ts';
import { addCold, addHot, insertDevice, type LiveScope, type PlugScope, removeHot } from './control-plug.ts';
import { saveSnapshot, withSnapshot } from './control-snapshot.ts';
import { FirecrackerMetrics } from './control-statistics.ts';
import { diskName } from './devices.ts';
import { reservedSlots, withSlots } from './devices-slots.ts';
import { adviceFor, namedExit, startFailure } from './errors.ts';
import { hasPool, jailedNames, planWith, pluggableMiB, plugsDevices, snapshotNames, usesPci } from './plan.ts';
import { workFolder } from './plan-jail.ts';
import { tracksDirtyPages } from './plan-params.ts';
import { probe } from './probe.ts';
import { checkKernel } from './probe-kernel.ts';
import { defectsOf } from './probe-versions.ts';
import { parseState } from './state.ts';
import { changePlaced, type PlacedDevices, readPlaced } from './state-devices.ts';
import { checkSaved, openedFiles, readSaved } from './state-saved.ts';

/** Devices that come back with a snapshot: Firecracker saves none that another process serves. */
const savedKinds: ReadonlySet<DeviceKind> = new Set(['block', 'net']);

/** What a start is made of, beside the configuration. */
interface NextStart {
  placed: PlacedDevices;
  /** folder of the snapshot that it goes on from; it boots when undefined */
  restoreFrom: string | undefined;
  /** whether the restored guest goes on at once */
  goesOn: boolean;
}

/** Drives one Firecracker: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class FirecrackerDriver extends ProgramDriver implements Driver {
  /** what the next start is made of */
  readonly #next: NextStart;
  #vsock: HybridVsock | undefined;
  #metrics: FirecrackerMetrics | undefined;
  #vsockWasAdded = false;
  /** whether the guest's vsock was reset since the guest stands still */
  #vsockIsReset = false;

  constructor(context: VmContext) {
    const next: NextStart = { placed: { devices: [], reserved: [] }, restoreFrom: undefined, goesOn: false };
    const planned = (of: VmContext, binary: string): LaunchPlan => {
      const root = process.geteuid?.() === 0;
      const cgroups = isJailed(of) ? findCgroups(root) : '';
      return planWith(of, binary, {
        version: this.program.version,
        devices: next.placed.devices,
        uid: isJailed(of) && root ? takeUid(of.id) : undefined,
        cgroups: typeof cgroups === 'string' ? undefined : cgroups,
        restores:
          next.restoreFrom === undefined ? undefined : { paths: openedFiles(next.restoreFrom), goesOn: next.goesOn },
      });
    };
    super(context, {
      plan: planned,
      probe: async (host, path) => {
        const verdict = await probe(host, path);
        // The jailer names its folder by the program itself, not by a link to it.
        if (!isJailed(context) || verdict.path === undefined) return verdict;
        return { ...verdict, path: await realpath(verdict.path) };
      },
      parseState,
      startFailure,
      channels: { count: 0, showsHangup: true },
    });
    this.#next = next;
  }

  offers(): Capabilities {
    // Before the program was found: what the newest can do.
    return capabilitiesFor(this.program.version ?? 'newest', usesPci(this.context.config));
  }

  protected override async makeFolders(): Promise<void> {
    const { id, runtimeFolder } = this.context;
    if (isJailed(this.context)) await makeJail(runtimeFolder, id, workFolder(this.context, this.program.binary));
  }

  override async create(options?: CreateOptions): Promise<void> {
    const { config } = this.context;
    await super.create(options);
    await checkKernel(assetPath(config, 'kernel') ?? '', this.program.version);
    const at = this.#at();
    const files = this.plan().files.map(({ path }) => path);
    await giveFiles(at, files);
    for (const type of ['kernel', 'initrd', 'image'] as const) {
      const source = assetPath(config, type);
      // Without a jail kernel and initrd are read where they are.
      if (source === undefined || (at.uid === undefined && type !== 'image')) continue;
      await insert(at, { source, name: jailedNames[type], access: 'read', once: type !== 'image' });
    }
  }

  async addDevice(device: Device): Promise<void> {
    if (device.kind === 'hybrid-vsock') {
      if (this.#vsockWasAdded) throw new VmError('INVALID_ARGUMENT', 'a VM has one vsock', { field: 'kind' });
      this.#vsockWasAdded = true;
      return;
    }
    this.#next.placed = await changePlaced(this.context.stateFolder, {}, async (before) => ({
      ...(await addCold(this.#plug(), before, device)),
      result: undefined,
    })).then(() => readPlaced(this.context.stateFolder));
  }

  override async start(options: CallOptions = {}): Promise<void> {
    const vsock = this.#agentVsock();
    await vsock.expectGuest();
    try {
      await this.#boot(options);
    } catch (error) {
      await vsock.close();
      throw error;
    }
  }

  async #boot(options: CallOptions): Promise<void> {
    await super.start(options);
    const { config, stateFolder } = this.context;
    const { devices: cold } = this.#next.placed;
    // Without devices it is known where the others are.
    if (cold.length > 0)
      await changePlaced(stateFolder, options, async ({ devices }) => ({
        devices: withSlots(devices, config),
        reserved: reservedSlots(devices, config),
        result: undefined,
      }));
    if (!config.realtime) return;
    // Where the host does not allow it they run as others do, as the configuration says.
    for (const thread of (await this.threadIds()).values()) await makeRealtime(thread);
  }

  protected async answers(call: CallOptions): Promise<void> {
    const control = this.#control();
    await control.ready(call);
    try {
      await control.send(this.plan().requests, call);
    } catch (error) {
      const found = VmError.from(error);
      if (found.code !== 'VMM_FAILED') throw error;
      const words = await this.lastWords();
      const advice = found.advice ?? adviceFor(words.log);
      throw new VmError('START_FAILED', found.rawMessage, { ...words, advice, cause: error });
    }
  }

  async restore(folder: string, options: RestoreOptions = {}): Promise<'paused' | 'running'> {
    const saved = await readSaved(folder);
    await checkSaved(folder, saved, this.program.version);
    const { stateFolder } = this.context;
    const placed = { devices: saved.devices, reserved: saved.reserved, spent: saved.spent };
    for (const one of placed.devices) await insertDevice(this.#at(), one);
    if (placed.devices.length > 0 || placed.spent === true)
      await changePlaced(stateFolder, options, async () => ({ ...placed, result: undefined }));
    this.#next.placed = placed;
    this.#next.restoreFrom = folder;
    this.#next.goesOn = options.goOn === true;
    await withSnapshot(this.#at(), folder, () => super.start(options));
    this.#vsockIsReset = !this.#next.goesOn;
    return this.#next.goesOn ? 'running' : 'paused';
  }

  /** Firecracker has no request that ends it: a guest that was asked to power off ends it, all else is the signal's. */
  async stop(options: StopOptions = {}): Promise<void> {
    await this.vmm.kill(options);
  }

  override async wait(options: CallOptions = {}): Promise<VmmExit> {
    return namedExit(await super.wait(options));
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#control().pause(options);
    this.#vsockIsReset = false;
  }

  async resume(options: CallOptions = {}): Promise<void> {
    const loses = defectsOf(this.program.version).some(({ id }) => id === 'vsock-lost-on-resume');
    if (loses && !this.#vsockIsReset) {
      await this.#control().resetVsock(options);
      await takeOut(this.#at(), snapshotNames.unused);
    }
    await this.#control().resume(options);
  }

  async runState(options: CallOptions = {}): Promise<'running' | 'paused'> {
    return (await this.#control().info(options)).state === 'Paused' ? 'paused' : 'running';
  }

  async save(folder: string, { onProgress, base, ...call }: SaveOptions = {}): Promise<void> {
    const { stateFolder } = this.context;
    const { version = '' } = this.program;
    const machine = { snapshotId: randomUUID(), version, ...(await readPlaced(stateFolder)) };
    requireSavable(
      machine.devices.map(({ device }) => device),
      savedKinds,
    );
    const tracks = tracksDirtyPages(this.context.config);
    const at = this.#at();
    const scope = { control: this.#control(), vmm: this.vmm, at, stateFolder, tracks, base: tracks ? base : undefined };
    const bytes = await saveSnapshot(scope, folder, machine, call);
    this.#vsockIsReset = true;
    onProgress?.(bytes);
  }

  async hotplugAddDevice(device: Device, options: CallOptions = {}): Promise<{ guestPath?: string }> {
    if (device.kind === 'memory') {
      await this.#plugMemory(device.sizeMiB, options);
      return {};
    }
    return changePlaced(this.context.stateFolder, options, (before) => addHot(this.#live(), before, device, options));
  }

  async hotplugRemoveDevice(device: Device, options: CallOptions = {}): Promise<void> {
    if (device.kind === 'memory') return this.#plugMemory(-device.sizeMiB, options);
    return changePlaced(this.context.stateFolder, options, (before) =>
      removeHot(this.#live(), before, device, options),
    );
  }

  async resizeMemory(
    memoryMiB: number,
    blockSizeMiB: number,
    probeFile: boolean,
    options: CallOptions = {},
  ): Promise<MemoryResize> {
    if (probeFile)
      throw new VmError(
        'UNSUPPORTED',
        'guests of Firecracker find plugged memory by virtio-mem: they have no probe file',
      );
    requireVirtioMem(this.context);
    const sizes = { memoryMiB, blockMiB: blockSizeMiB, bootMiB: this.context.config.memoryMiB };
    return this.#resizeMemory(sizes, options);
  }

  async #plugMemory(sizeMiB: number, options: CallOptions): Promise<void> {
    requireVirtioMem(this.context);
    const { plugged_size_mib: pluggedMiB } = await this.#control().memory(options);
    const { memoryMiB } = this.context.config;
    const sizes = { memoryMiB: memoryMiB + pluggedMiB + sizeMiB, blockMiB: 1, bootMiB: memoryMiB };
    await this.#resizeMemory(sizes, options);
  }

  #resizeMemory(sizes: Parameters<typeof resizeMemory>[1], options: CallOptions): Promise<MemoryResize> {
    return resizeMemory(this.#control(), sizes, (memoryMiB) => this.vmm.allowMemory(memoryMiB), options);
  }

  async check(options: CallOptions = {}): Promise<void> {
    if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'Firecracker does not run any more', await this.lastWords());
    await this.#control().info(options);
    const words = await this.lastWords();
    const panic = panicIn(words.console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, words);
  }

  /** Firecracker names its vCPU threads `fc_vcpu 0`, older ones `fc_vcpu0`. */
  override async threadIds(): Promise<Map<number, number>> {
    const pid = this.vmm.identity()?.pid;
    if (pid === undefined) throw new VmError('NOT_RUNNING', 'Firecracker was not started');
    return vcpuThreads(pid, /^fc_vcpu ?(\d+)$/);
  }

  override async statistics(options: CallOptions = {}): Promise<VmmStatistics> {
    const own = await processStatistics(this.vmm.identity(), await this.threadIds());
    const { config, stateFolder } = this.context;
    const control = this.#control();
    await control.flushMetrics(options);
    const metrics = (this.#metrics ??= new FirecrackerMetrics(vmmFiles.metrics(this.#at().folder)));
    await metrics.read();
    const pluggedMiB = pluggableMiB(this.context) === 0 ? 0 : (await control.memory(options)).plugged_size_mib;
    const balloonMiB = config.reclaimGuestFreedMemory ? (await control.balloon(options)).actual_mib : 0;
    const { devices } = await readPlaced(stateFolder);
    return {
      ...own,
      guestMemoryBytes: (config.memoryMiB + pluggedMiB - balloonMiB) * 2 ** 20,
      disks: devices
        .filter(({ device }) => device.kind !== 'net')
        .map(({ device, name, pool }) => metrics.disk(device.id, pool === undefined ? name : `pool${pool}`)),
      networks: devices
        .filter(({ device }) => device.kind === 'net')
        .map(({ device, name }) => metrics.network(device.id, name)),
    };
  }

  override async console(): Promise<ConsoleLocation> {
    const file = vmmFiles.console(this.#at().folder);
    return { protocol: 'file', path: file, log: file };
  }

  override channels(): readonly GuestChannel[] {
    return this.#agentVsock().channels();
  }

  override async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (!useVsock)
      throw new VmError('UNSUPPORTED', 'Firecracker has no serial ports: its agent channel is a vsock', {
        operation: 'generateSocket',
      });
    return { kind: 'hybrid-vsock', udsPath: vmmFiles.vsockSocket(this.#at().folder), port: agentPort };
  }

  override async disconnect(): Promise<void> {
    await this.#vsock?.close();
  }

  override async cleanup(): Promise<void> {
    await this.#vsock?.close();
    const { id, runtimeFolder, stateFolder } = this.context;
    const jailed = isJailed(this.context);
    if (jailed) {
      await this.vmm.cleanup();
      await clearJail(runtimeFolder, id);
    } else {
      await super.cleanup();
      const sockets = [vmmFiles.apiSocket(runtimeFolder), vmmFiles.vsockSocket(runtimeFolder)];
      const disks = (await readPlaced(stateFolder)).devices.map(({ name }) => path.join(runtimeFolder, diskName(name)));
      for (const left of [...sockets, ...disks, path.join(runtimeFolder, jailedNames.image)])
        await rm(left, { force: true });
    }
    // A VM may be made and started once more, with other devices.
    await rm(vmFiles.devices(stateFolder), { force: true });
  }

  #at(): WorkFolder {
    const folder = workFolder(this.context, this.program.binary);
    if (!isJailed(this.context)) return { folder, uid: undefined };
    const unmounted = unmountedFolder(this.context.runtimeFolder);
    return { folder, uid: statSync(folder).uid, unmounted: existsSync(unmounted) ? unmounted : undefined };
  }

  #control(): FirecrackerControl {
    return new FirecrackerControl(vmmFiles.apiSocket(this.#at().folder));
  }

  #agentVsock(): HybridVsock {
    return (this.#vsock ??= new HybridVsock(vmmFiles.vsockSocket(this.#at().folder)));
  }

  #plug(): PlugScope {
    const { config } = this.context;
    const plugs = plugsDevices(config, this.program.version);
    return { context: this.context, at: this.#at(), pool: hasPool(config), plugs };
  }

  #live(): LiveScope {
    const pid = this.vmm.identity()?.pid;
    if (pid === undefined || !this.vmm.alive()) throw new VmError('VMM_GONE', 'Firecracker does not run any more');
    return { ...this.#plug(), control: this.#control(), vmm: this.vmm, pid };
  }
}

function isJailed({ config }: VmContext): boolean {
  return assetPath(config, 'jailer') !== undefined;
}

/** @throws {VmError} UNSUPPORTED on a VM that was started without what memory comes by */
function requireVirtioMem(context: VmContext): void {
  if (pluggableMiB(context) > 0) return;
  throw new VmError('UNSUPPORTED', 'memory can be plugged only into a VM that was started with virtioMem', {
    operation: 'resizeMemory',
    field: 'virtioMem',
    advice: 'Start the VM with `virtioMem: true`.',
  });
}
