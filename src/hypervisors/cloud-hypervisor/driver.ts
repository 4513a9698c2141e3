import { type CallOptions, inScope } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import { tail } from '../../transports/log-tail.ts';
import type { Capabilities } from '../capabilities.ts';
import { panicIn } from '../console-signs.ts';
import { type Device, deviceId, type DeviceKind } from '../device.ts';
import type { FsDaemon } from '../fs-daemon.ts';
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
} from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { ProgramDriver } from '../program-driver.ts';
import { requireSavable } from '../savable.ts';
import { makeMemoryFile } from '../template-memory.ts';
import { vcpuThreads } from '../vcpu-threads.ts';
import type { VmmEvent } from '../vmm-event.ts';
import { processStatistics, type VmmStatistics } from '../vmm-statistics.ts';
import { capabilitiesFor } from './capabilities.ts';
import { CloudHypervisorControl } from './control.ts';
import { consoleOf } from './control-console.ts';
import { dumpToFile } from './control-dump.ts';
import { monitorEvents, startedMs } from './control-events.ts';
import { closePassage, passageIn } from './control-passage.ts';
import { type LiveScope, looked, plug, startDaemon, unplug } from './control-plug.ts';
import { type MemoryResize, resizeMemory, resizeVcpus } from './control-resize.ts';
import {
  openedBy,
  openSnapshot,
  pageFaults,
  readSnapshot,
  saveSnapshot,
  saveTemplate,
  type SnapshotToRestore,
} from './control-snapshot.ts';
import { counters } from './control-statistics.ts';
import type { OwnDevice } from './devices.ts';
import { adviceFor, startFailure } from './errors.ts';
import { type Found, planWith } from './plan.ts';
import { probe } from './probe.ts';
import { has, requireNotOlder } from './probe-versions.ts';
import { type CloudHypervisorState, parseState } from './state.ts';
import { changeDevices, readDevices, writeDevices } from './state-devices.ts';
import { readSaved } from './state-saved.ts';
import { typedEvent } from './wire-events.ts';

/** Devices that come back with a snapshot. A daemon's state, and that of a device of the host, is in none. */
const savedKinds: ReadonlySet<DeviceKind> = new Set(['block', 'net']);

/** Milliseconds for a guest to follow the power button, and for Cloud Hypervisor to end after `vmm.shutdown`. */
const [buttonMs, shutdownMs] = [3_000, 5_000];
/** Milliseconds for a guest to take or to let go of vCPUs and memory, when the caller gives no limit. */
const resizeMs = 60_000;
/** Lines of the console in an error. */
const consoleLines = 50;

/** Drives one Cloud Hypervisor: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class CloudHypervisorDriver extends ProgramDriver implements Driver {
  /** what the next plan is made of, beside the configuration */
  readonly #next: {
    devices: readonly OwnDevice[];
    /** it goes on from there; it boots otherwise */
    snapshot?: SnapshotToRestore;
    goesOn: boolean;
  };
  #vsock: HybridVsock | undefined;
  #features: readonly string[] | undefined;
  #vsockWasAdded = false;

  constructor(context: VmContext) {
    const planned = (of: VmContext, binary: string): LaunchPlan => planWith(of, binary, this.#found());
    super(context, { plan: planned, probe, parseState, startFailure, channels: { count: 0, showsHangup: true } });
    this.#next = { devices: [], goesOn: false };
  }

  offers(): Capabilities {
    return capabilitiesFor({ version: this.program.version, features: this.#features });
  }

  override async create(options?: CreateOptions): Promise<void> {
    await super.create(options);
    const { bootToBeTemplate, memoryPath, memoryMiB } = this.context.config;
    if (bootToBeTemplate && memoryPath !== undefined) await makeMemoryFile(memoryPath, memoryMiB);
  }

  async addDevice(device: Device): Promise<void> {
    if (device.kind === 'hybrid-vsock') {
      if (this.#vsockWasAdded) throw new VmError('INVALID_ARGUMENT', 'a VM has one vsock', { field: 'kind' });
      this.#vsockWasAdded = true;
      return;
    }
    const { stateFolder } = this.context;
    this.#next.devices = await changeDevices(stateFolder, {}, async (before) => {
      const devices = [...before, await looked(this.context, before, device)];
      return { devices, result: devices };
    });
  }

  override async start(options: CallOptions = {}): Promise<void> {
    const vsock = this.#agentVsock();
    await vsock.expectGuest();
    try {
      await this.#startWithDaemons(options);
    } catch (error) {
      await vsock.close();
      throw error;
    }
  }

  /** The processes behind shared folders must listen before Cloud Hypervisor looks for them. */
  async #startWithDaemons(options: CallOptions): Promise<void> {
    const daemons: FsDaemon[] = [];
    try {
      for (const device of this.#next.devices) {
        const daemon = await startDaemon(device, this.context, options);
        if (daemon !== undefined) daemons.push(daemon);
      }
      await super.start(options);
      for (const daemon of daemons) await daemon.letGo();
    } catch (error) {
      for (const daemon of daemons) await daemon.end();
      throw error;
    }
  }

  protected async answers(call: CallOptions): Promise<void> {
    const control = this.#control();
    await control.ready(call);
    try {
      // Nothing waits for that answer.
      const asked = control.ping(call);
      asked.catch(() => undefined);
      await control.send(this.plan().requests, call);
      await this.#goOn(control, call);
      this.#features = (await asked).features ?? [];
    } catch (error) {
      const found = VmError.from(error);
      if (found.code !== 'VMM_FAILED') throw error;
      const words = await this.lastWords();
      const advice = found.advice ?? adviceFor(words.log);
      throw new VmError('START_FAILED', found.rawMessage, { ...words, advice, cause: error });
    }
  }

  /** Loads the snapshot, if the VM goes on from one. */
  async #goOn(control: CloudHypervisorControl, call: CallOptions): Promise<void> {
    const { snapshot, goesOn } = this.#next;
    if (snapshot === undefined) return;
    const onDemand = snapshot.memory === 'on demand';
    await control.restore(passageIn(this.context.runtimeFolder), { goesOn, onDemand }, call);
    // It has been opened, and could serve nobody but who has broken out of the guest.
    if (onDemand) this.vmm.withdraw(pageFaults);
  }

  async restore(folder: string, options: RestoreOptions = {}): Promise<'paused' | 'running'> {
    const saved = await readSaved(folder);
    requireNotOlder(this.program.version, saved.version, folder);
    await writeDevices(this.context.stateFolder, saved.devices);
    this.#next.devices = saved.devices;
    this.#next.goesOn = options.goOn === true && has(this.program.version, 'resumingRestore');
    const how = { onDemand: has(this.program.version, 'memoryOnDemand'), growable: options.growable === true };
    this.#next.snapshot = readSnapshot(this.context, folder, saved, how);
    try {
      openSnapshot(this.context, this.#next.snapshot);
      await this.#startWithDaemons(options);
    } finally {
      closePassage(this.context.runtimeFolder);
    }
    return this.#next.goesOn ? 'running' : 'paused';
  }

  async stop(options: StopOptions = {}): Promise<void> {
    if (options.force !== true && this.vmm.alive()) {
      await this.#ask(buttonMs, options, (control, call) => control.powerButton(call));
      if (this.vmm.alive()) await this.#ask(shutdownMs, options, (control, call) => control.shutdown(call));
    }
    await this.vmm.kill(options);
  }

  /** Asks for the end, and waits for it. Who does not answer or follow is forced; a caller that gave up is not overruled. */
  async #ask(
    timeoutMs: number,
    { signal }: CallOptions,
    request: (control: CloudHypervisorControl, call: CallOptions) => Promise<void>,
  ): Promise<void> {
    try {
      await request(this.#control(), { signal, timeoutMs });
      await this.vmm.wait({ signal, timeoutMs });
    } catch (error) {
      if (signal?.aborted === true) throw error;
    }
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#control().pause(options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#control().resume(options);
  }

  async runState(options: CallOptions = {}): Promise<'running' | 'paused'> {
    return (await this.#control().info(options)).state === 'Paused' ? 'paused' : 'running';
  }

  async save(folder: string, { onProgress, signal, timeoutMs }: SaveOptions = {}): Promise<void> {
    const { stateFolder, config } = this.context;
    const machine = { version: this.program.version ?? '', devices: await readDevices(stateFolder) };
    requireSavable(machine.devices, savedKinds);
    const scope = this.#live();
    if (config.bootToBeTemplate) return saveTemplate(scope, folder, machine, { signal, timeoutMs });
    // Not within the call: nothing would be saved for a caller who does not listen.
    const bytes = await saveSnapshot(scope, folder, machine, { signal, timeoutMs });
    onProgress?.(bytes);
  }

  async dumpMemory(file: string, options: CallOptions = {}): Promise<void> {
    await dumpToFile(this.#live(), file, options);
  }

  async hotplugAddDevice(device: Device, options: CallOptions = {}): Promise<{ guestPath?: string }> {
    if (device.kind === 'memory') {
      await this.#plugMemory(device.sizeMiB, options);
      return {};
    }
    if (device.kind === 'cpu') {
      await this.#plugVcpus(device.count, options);
      return {};
    }
    return changeDevices(this.context.stateFolder, options, async (before) => {
      const real = await looked(this.context, before, device);
      return { devices: [...before, real], result: await plug(this.#live(), real, options) };
    });
  }

  async hotplugRemoveDevice(device: Device, options: CallOptions = {}): Promise<void> {
    if (device.kind === 'memory') return this.#plugMemory(-device.sizeMiB, options);
    if (device.kind === 'cpu') return this.#plugVcpus(-device.count, options);
    return changeDevices(this.context.stateFolder, options, async (before) => {
      const plugged = before.find(({ id }) => id === deviceId(device));
      if (plugged === undefined)
        throw new VmError('INVALID_ARGUMENT', `device ${deviceId(device)} is not plugged`, { field: 'id' });
      await unplug(this.#live(), plugged, options);
      return { devices: before.filter((other) => other !== plugged), result: undefined };
    });
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
        'guests of Cloud Hypervisor find plugged memory by themselves: they have no probe file',
      );
    return inScope('resize of the memory', { timeoutMs: resizeMs, ...options }, (call) =>
      resizeMemory(this.#live(), memoryMiB, blockSizeMiB, call),
    );
  }

  async resizeVcpus(vcpus: number, options: CallOptions = {}): Promise<{ before: number; after: number }> {
    const { hotRemove } = this.offers().devices.cpu;
    const isFewer = Number.isInteger(vcpus) && vcpus >= 1 && vcpus < (await this.threadIds()).size;
    if (hotRemove !== true && isFewer)
      throw new VmError('UNSUPPORTED', hotRemove, { operation: 'resizeVcpus', field: 'vcpus' });
    return inScope('resize of the vCPUs', { timeoutMs: resizeMs, ...options }, (call) =>
      resizeVcpus(this.#control(), vcpus, this.context.config, () => this.threadIds(), call),
    );
  }

  async #plugMemory(sizeMiB: number, options: CallOptions): Promise<void> {
    const { memory_actual_size: bytes } = await this.#control().info(options);
    await this.resizeMemory(bytes / 2 ** 20 + sizeMiB, 1, false, options);
  }

  async #plugVcpus(count: number, options: CallOptions): Promise<void> {
    await this.resizeVcpus((await this.threadIds()).size + count, options);
  }

  async check(options: CallOptions = {}): Promise<void> {
    if (!this.vmm.alive())
      throw new VmError('VMM_GONE', 'Cloud Hypervisor does not run any more', await this.lastWords());
    await this.#control().info(options);
    const words = await this.lastWords();
    const panic = panicIn(words.console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, words);
  }

  /** Cloud Hypervisor names its vCPU threads `vcpu0`, `vcpu1`, ... */
  override async threadIds(): Promise<Map<number, number>> {
    const pid = this.vmm.identity()?.pid;
    if (pid === undefined) throw new VmError('NOT_RUNNING', 'Cloud Hypervisor was not started');
    return vcpuThreads(pid, /^vcpu(\d+)$/);
  }

  override async statistics(options: CallOptions = {}): Promise<VmmStatistics> {
    const own = await processStatistics(this.vmm.identity(), await this.threadIds());
    const devices = await readDevices(this.context.stateFolder);
    return { ...own, ...(await counters(this.#control(), devices, options)) };
  }

  async *vmmEvents(signal?: AbortSignal): AsyncGenerator<VmmEvent, void> {
    const identity = this.vmm.identity();
    if (identity === undefined) throw new VmError('NOT_RUNNING', 'Cloud Hypervisor was not started');
    const started = startedMs(identity);
    const over = new AbortController();
    const until = this.wait({ signal: signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]) });
    const reading = { until: until.catch(() => undefined), signal };
    try {
      for await (const event of monitorEvents(this.context.runtimeFolder, reading)) {
        const typed = typedEvent(event, started);
        if (typed !== undefined) yield typed;
      }
    } catch (error) {
      // To be left is no error.
      if (signal?.aborted !== true) throw error;
    } finally {
      over.abort();
    }
  }

  /** The serial line is the log; what one can talk on is the virtio console, a pseudo-terminal. */
  override async console(): Promise<ConsoleLocation> {
    const log = vmmFiles.console(this.context.runtimeFolder);
    const pid = this.vmm.alive() ? this.vmm.identity()?.pid : undefined;
    const terminal = pid === undefined ? undefined : await consoleOf(pid);
    return terminal === undefined ? { protocol: 'file', path: log, log } : { protocol: 'pty', path: terminal, log };
  }

  override async lastWords(): Promise<{ log: string; console: string }> {
    const { stateFolder, runtimeFolder } = this.context;
    return {
      log: await tail(vmFiles.vmmLog(stateFolder)),
      console: await tail(vmmFiles.console(runtimeFolder), { lines: consoleLines }),
    };
  }

  override channels(): readonly GuestChannel[] {
    return this.#agentVsock().channels();
  }

  override async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (!useVsock)
      throw new VmError('UNSUPPORTED', 'Cloud Hypervisor has no serial ports for an agent: its channel is a vsock', {
        operation: 'generateSocket',
      });
    return { kind: 'hybrid-vsock', udsPath: vmmFiles.vsockSocket(this.context.runtimeFolder), port: agentPort };
  }

  override async saveState(): Promise<CloudHypervisorState> {
    return { ...(await super.saveState()), features: this.#features };
  }

  override async loadState(value: unknown): Promise<void> {
    await super.loadState(value);
    this.#features = parseState(value).features;
  }

  override async disconnect(): Promise<void> {
    await this.#vsock?.close();
  }

  override async cleanup(): Promise<void> {
    await this.#vsock?.close();
    closePassage(this.context.runtimeFolder);
    await super.cleanup();
  }

  #found(): Found {
    const { devices, snapshot } = this.#next;
    const found = { version: this.program.version, devices };
    return snapshot === undefined ? found : { ...found, restores: openedBy(snapshot) };
  }

  #live(): LiveScope {
    return { context: this.context, vmm: this.vmm, control: this.#control() };
  }

  #control(): CloudHypervisorControl {
    return new CloudHypervisorControl(this.context.runtimeFolder);
  }

  #agentVsock(): HybridVsock {
    return (this.#vsock ??= new HybridVsock(vmmFiles.vsockSocket(this.context.runtimeFolder), { countsAnew: true }));
  }
}
