import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { lock } from '../../state/lock.ts';
import { vmmFiles } from '../../state/paths.ts';
import { type LogReading, readLog } from '../../transports/log-follow.ts';
import { LineSplitter } from '../../transports/qmp/lines.ts';
import { panicIn } from '../console-signs.ts';
import type { CpuDevice, Device, MemoryDevice } from '../device.ts';
import type {
  CreateOptions,
  Driver,
  PluggedDevice,
  RestoreOptions,
  SaveOptions,
  StopOptions,
  VmContext,
  VmmExit,
} from '../hypervisor.ts';
import type { LaunchPlan } from '../launch-plan.ts';
import { ProgramDriver } from '../program-driver.ts';
import type { VmmEvent } from '../vmm-event.ts';
import { makeRealtime } from '../thread-schedule.ts';
import { makeMemoryFile, requireMemoryFile } from '../template-memory.ts';
import { threadsOnHost } from '../vcpu-threads.ts';
import { processStatistics, type VmmStatistics } from '../vmm-statistics.ts';
import { QemuControl } from './control.ts';
import { resizeVcpus } from './control-cpus.ts';
import { type MemoryResize, memoryTotal, resizeMemory } from './control-memory.ts';
import { plugSize, unplugSize } from './control-size.ts';
import { counters } from './control-statistics.ts';
import { dumpToFile } from './control-dump.ts';
import { startedWithFreeId } from './control-context-id.ts';
import { addBeforeStart, attach, detach, type LiveScope } from './control-attach.ts';
import { requireDaemons, withDaemons } from './control-folders.ts';
import { loadSaved, withNodes } from './control-load.ts';
import { feed } from './control-migration.ts';
import { saveMachine } from './control-save.ts';
import { agentPorts, requirePlugging } from './devices.ts';
import { startFailure } from './errors.ts';
import type { Placed } from './devices-place.ts';
import { planWith } from './plan.ts';
import { restorePlan } from './plan-restore.ts';
import { probe } from './probe.ts';
import { parseState } from './state.ts';
import { readDevices, writeDevices } from './state-devices.ts';
import { besideState, machineFile, readSaved, readStream, type SavedMachine, savedFiles } from './state-saved.ts';
import type { RunState } from './wire.ts';
import { parseEventLine } from './wire-events.ts';

/** Milliseconds until QEMU's monitor answers: memory that is locked or taken at once comes first. */
const readyMs = 120_000;
/** Milliseconds that QEMU gets to end after `quit` before it is killed. */
const quitMs = 5_000;

/** Milliseconds for a guest to take or to let go of vCPUs and memory, when the caller gives no limit. */
const resizeMs = 60_000;
/** The same for gigabytes to go to a disk, or to come from it. */
const migrationMs = 600_000;

/** Bytes of one line of the event log: far more than any event has. */
const maxEventBytes = 1 << 20;

/** The guest stands still, and `cont` lets it go on: also before it was started, and after it was saved. */
const pausedStates: ReadonlySet<RunState> = new Set([
  'paused',
  'prelaunch',
  'postmigrate',
  'inmigrate',
  'finish-migrate',
]);

/** Drives one QEMU: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class QemuDriver extends ProgramDriver implements Driver {
  readonly #control: QemuControl;
  /** what this VMM is to go on with, once it is started */
  #saved: SavedMachine | undefined;
  /** what was added before the start */
  #added: readonly Placed[] = [];
  /** file with the memory that it is to see privately */
  #memory: string | undefined;
  /** the devices, for a QEMU that listens for them by itself */
  #stream: (() => Promise<Uint8Array>) | undefined;

  constructor(context: VmContext) {
    // A client that dies and is followed at once by another leaves the guest's port no sign of it.
    const channels = { count: agentPorts, showsHangup: false };
    const planned = (of: VmContext, binary: string): LaunchPlan =>
      this.#saved === undefined
        ? planWith(of, binary, this.#added)
        : restorePlan(of, binary, this.#saved, this.#memory, this.#stream !== undefined);
    super(context, { plan: planned, probe, parseState, startFailure, channels });
    this.#control = new QemuControl(context);
  }

  protected async answers(call: CallOptions): Promise<void> {
    if (this.#stream !== undefined)
      return feed(vmmFiles.migration(this.context.runtimeFolder), await this.#stream(), call);
    return this.#control.ready({ ...call, timeoutMs: readyMs });
  }

  override async create(options?: CreateOptions): Promise<void> {
    await super.create(options);
    const { bootToBeTemplate, memoryPath, memoryMiB } = this.context.config;
    if (bootToBeTemplate && memoryPath !== undefined) await makeMemoryFile(memoryPath, memoryMiB);
  }

  override async start(options: CallOptions = {}): Promise<void> {
    const { bootFromTemplate, devicesStatePath } = this.context.config;
    if (bootFromTemplate && devicesStatePath !== undefined && this.#saved === undefined) {
      const found = await this.#goOn(besideState(devicesStatePath), { ...options, goOn: true });
      return found === 'running' ? undefined : this.resume(options);
    }
    const { stateFolder } = this.context;
    const placed = await startedWithFreeId(this.#added, async (devices) => {
      if (devices !== this.#added) await this.#startAnew(devices);
      return withDaemons(devices, this.context, options, () => super.start(options));
    });
    if (placed.some(({ daemon }) => daemon !== undefined)) await writeDevices(stateFolder, placed);
    if (!this.context.config.realtime) return;
    // Where the host does not allow it they run as others do, as the configuration says.
    for (const thread of (await this.threadIds(options)).values()) await makeRealtime(thread);
  }

  /** After a QEMU that ended before it answered: with other devices, and with the plan's files as they were. */
  async #startAnew(devices: readonly Placed[]): Promise<void> {
    this.#added = devices;
    await writeDevices(this.context.stateFolder, devices);
    await this.vmm.renewFiles(this.plan());
  }

  async stop(options: StopOptions = {}): Promise<void> {
    if (options.force !== true && this.vmm.alive()) {
      try {
        await this.#control.quit({ signal: options.signal, timeoutMs: quitMs });
        await this.vmm.wait({ signal: options.signal, timeoutMs: quitMs });
      } catch (error) {
        // A QEMU that does not answer its monitor is ended all the same; a caller that gave up is not overruled.
        if (options.signal?.aborted === true) throw error;
      }
    }
    await this.vmm.kill(options);
  }

  override async wait(options: CallOptions = {}): Promise<VmmExit> {
    const exit = await super.wait(options);
    const reason = await this.#endReason();
    return reason === undefined ? exit : { ...exit, reason };
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#control.pause(options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#control.resume(options);
  }

  async runState(options: CallOptions = {}): Promise<'running' | 'paused'> {
    const status = await this.#control.status(options);
    return pausedStates.has(status) ? 'paused' : 'running';
  }

  async resizeVcpus(vcpus: number, options: CallOptions = {}): Promise<{ before: number; after: number }> {
    requirePlugging(this.context.config, 'resizeVcpus', 'cpu');
    return this.#control.session((qmp, call) => resizeVcpus(qmp, vcpus, this.context, call), {
      timeoutMs: resizeMs,
      ...options,
    });
  }

  async resizeMemory(
    memoryMiB: number,
    blockSizeMiB: number,
    probe: boolean,
    options: CallOptions = {},
  ): Promise<MemoryResize> {
    requirePlugging(this.context.config, 'resizeMemory', 'memory');
    if (probe) throw new VmError('UNSUPPORTED', 'guests of QEMU find plugged memory by ACPI: they have no probe file');
    this.vmm.allowMemory(memoryMiB + blockSizeMiB);
    return this.#control.session((qmp, call) => resizeMemory(qmp, memoryMiB, blockSizeMiB, this.context, call), {
      timeoutMs: resizeMs,
      ...options,
    });
  }

  async addDevice(device: Device): Promise<void> {
    if (isSize(device)) throw new VmError('UNSUPPORTED', 'the configuration says what a VM starts with');
    this.#added = await addBeforeStart(this.context, device);
  }

  async hotplugAddDevice(device: Device, options: CallOptions = {}): Promise<PluggedDevice> {
    requirePlugging(this.context.config, 'hotplugAddDevice', device.kind);
    if (!isSize(device)) return attach(this.#scope(), device, options);
    if (device.kind === 'memory') this.vmm.allowMemory((await this.#memoryMiB(options)) + device.sizeMiB);
    await this.#control.session((qmp, call) => plugSize(qmp, device, this.context, call), {
      timeoutMs: resizeMs,
      ...options,
    });
    return {};
  }

  async hotplugRemoveDevice(device: Device, options: CallOptions = {}): Promise<void> {
    requirePlugging(this.context.config, 'hotplugRemoveDevice', device.kind);
    if (!isSize(device)) return detach(this.#scope(), device.id, options);
    await this.#control.session((qmp, call) => unplugSize(qmp, device, this.context, call), {
      timeoutMs: resizeMs,
      ...options,
    });
  }

  #scope(): LiveScope {
    return { context: this.context, vmm: this.vmm, control: this.#control };
  }

  async #memoryMiB(options: CallOptions): Promise<number> {
    return this.#control.session((qmp, call) => memoryTotal(qmp, call), options);
  }

  async save(folder: string, options: SaveOptions = {}): Promise<void> {
    const { onProgress, forClones, ...limits } = options;
    const scope = { context: this.context, binary: this.program.binary, pid: this.vmm.identity()?.pid ?? 0, folder };
    await this.#control.session((qmp, call) => saveMachine(qmp, scope, { ...call, onProgress, forClones }), {
      timeoutMs: migrationMs,
      ...limits,
    });
  }

  async restore(folder: string, options: RestoreOptions = {}): Promise<'paused' | 'running'> {
    return this.#goOn(machineFile(folder), options);
  }

  /** @param described where the machine of the saved VM is described */
  async #goOn(described: string, { goOn, ...options }: RestoreOptions): Promise<'paused' | 'running'> {
    const saved = await withNodes(await readSaved(described), this.context.networkNamespace);
    const scope = callScope('restore of the VM', { timeoutMs: migrationMs, ...options });
    const call = { signal: scope.signal };
    const files = savedFiles(path.dirname(described), saved);
    const { memoryPath, memoryMiB } = this.context.config;
    files.memory &&= memoryPath ?? files.memory;
    if (files.memory !== undefined) requireMemoryFile(files.memory, memoryMiB);
    this.#saved = saved;
    await writeDevices(this.context.stateFolder, saved.devices);
    this.#memory = files.memory;
    try {
      if (goOn === true && saved.goesOn === true && files.memory !== undefined) {
        await this.#startWith(() => readStream(files.stream, saved), call);
        return 'running';
      }
      await this.start(call);
      await loadSaved(this.#control, this.context.runtimeFolder, { saved, ...files }, call).catch(
        async (error: unknown) => {
          // A QEMU that can't load a stream says why on its way out.
          if (VmError.from(error).code !== 'VMM_GONE') throw error;
          throw startFailure(await this.wait(call), (await this.lastWords()).log);
        },
      );
      return 'paused';
    } catch (error) {
      await this.vmm.kill();
      scope.throwIfEnded();
      throw error;
    } finally {
      scope.release();
    }
  }

  /** A QEMU that loads these devices by itself, and lets the guest go on. They are read while it starts. */
  async #startWith(stream: () => Promise<Uint8Array>, call: CallOptions): Promise<void> {
    this.#stream = stream;
    try {
      const events = vmmFiles.eventsIn(this.context.runtimeFolder);
      const told = this.plan().files.find((file) => file.path === events);
      if (told !== undefined) writeFileSync(events, told.content);
      await this.start(call);
    } finally {
      this.#stream = undefined;
    }
  }

  async check(options: CallOptions = {}): Promise<void> {
    if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'QEMU does not run any more', await this.lastWords());
    const status = await this.#control.status(options);
    requireDaemons(await readDevices(this.context.stateFolder));
    const words = await this.lastWords();
    if (status === 'internal-error' || status === 'io-error')
      throw new VmError('VMM_FAILED', `QEMU reports ${status}`, words);
    const panic = panicIn(words.console) ?? (status === 'guest-panicked' ? 'the guest has panicked' : undefined);
    if (panic === undefined) return;
    const dump = await this.#dumpOfPanic(options);
    throw new VmError('GUEST_PANICKED', panic, { ...words, ...(dump === undefined ? {} : { path: dump }) });
  }

  async dumpMemory(file: string, options: CallOptions = {}): Promise<void> {
    const { config, runtimeFolder } = this.context;
    const fifo = vmmFiles.dump(runtimeFolder);
    await this.#control.session(
      async (qmp, call) => {
        const { guestMemoryBytes: memoryBytes } = await counters(qmp, false, call);
        await dumpToFile(qmp, fifo, file, { memoryBytes, paging: config.guestMemoryDumpPaging }, call);
      },
      { timeoutMs: migrationMs, ...options },
    );
  }

  /** The dump that the configuration asks for, made by whoever finds the panic first. */
  async #dumpOfPanic(options: CallOptions): Promise<string | undefined> {
    const { config, id } = this.context;
    if (config.guestMemoryDumpPath === undefined) return undefined;
    const file = path.join(config.guestMemoryDumpPath, `${id}.vmcore`);
    const held = await lock(this.context.stateFolder, 'dump', options);
    try {
      if (!existsSync(file)) await this.dumpMemory(file, options);
    } finally {
      await held.release();
    }
    return file;
  }

  override async threadIds(options: CallOptions = {}): Promise<Map<number, number>> {
    return this.#onHost(await this.#control.threadIds(options));
  }

  async #onHost(told: ReadonlyMap<number, number>): Promise<Map<number, number>> {
    return threadsOnHost(this.vmm.identity()?.pid ?? 0, told);
  }

  override async statistics(options: CallOptions = {}): Promise<VmmStatistics> {
    const { reclaimGuestFreedMemory } = this.context.config;
    if (!this.vmm.alive()) return super.statistics(options);
    const { threadIds, ...rest } = await this.#control.session(
      (qmp, call) => counters(qmp, reclaimGuestFreedMemory, call),
      options,
    );
    return { ...(await processStatistics(this.vmm.identity(), await this.#onHost(threadIds))), ...rest };
  }

  async *vmmEvents(signal?: AbortSignal): AsyncGenerator<VmmEvent, void> {
    const over = new AbortController();
    const until = this.wait({ signal: signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]) });
    try {
      for await (const line of this.#eventLines({ until: until.catch(() => undefined), signal })) {
        const event = parseEventLine(line);
        if (event !== undefined) yield event;
      }
    } catch (error) {
      // To be left is no error.
      if (signal?.aborted !== true) throw error;
    } finally {
      over.abort();
    }
  }

  async *#eventLines(reading: LogReading): AsyncGenerator<string, void> {
    const lines = new LineSplitter(maxEventBytes);
    for await (const piece of readLog(vmmFiles.eventsOut(this.context.runtimeFolder), reading)) {
      const complete = lines.push(piece);
      if (complete === undefined) throw new VmError('VMM_FAILED', "QEMU's event log has a line without an end");
      yield* complete;
    }
  }

  /** Why QEMU ended, as its event log tells. */
  async #endReason(): Promise<string | undefined> {
    let reason: string | undefined;
    for await (const line of this.#eventLines({})) {
      const event = parseEventLine(line);
      if (event?.event === 'shutdown') reason = event.reason;
    }
    return reason;
  }
}

/** vCPUs and memory: what a resize changes, too. */
function isSize(device: Device): device is CpuDevice | MemoryDevice {
  return device.kind === 'cpu' || device.kind === 'memory';
}
