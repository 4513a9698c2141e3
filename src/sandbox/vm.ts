import path from 'node:path';
import type { CallOptions } from '../config/call-options.ts';
import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import type { RootImage } from '../images/roots/root-image.ts';
import type { Capabilities } from '../hypervisors/capabilities.ts';
import type { VmmExit } from '../hypervisors/hypervisor.ts';
import type { VmmEvent } from '../hypervisors/vmm-event.ts';
import { type AgentLink, linkAgent } from './agent-link.ts';
import { attachDevice, type AttachResult, detachDevice, type DetachOptions } from './attach-device.ts';
import { bringBackFirst, noticesOf } from './bring-back.ts';
import { tearDown } from './bring-up.ts';
import type { CommitOptions } from './commit.ts';
import type { DeviceSpec } from './device-spec.ts';
import { followEvents, type FollowOptions } from './follow-events.ts';
import type { ForkOptions } from './fork.ts';
import { getOrCreate } from './get-or-create.ts';
import { describeVm, listVms, type VmInspection, type VmSummary } from './inspect.ts';
import { type LifeEvent, noteEvent } from './life-events.ts';
import { connectVm, createVm, openVm, restoreVm, type VmConnectOptions } from './open-vm.ts';
import type { OpenedVm } from './opened-vm.ts';
import { adoptVm, detachVm } from './ownership.ts';
import { pauseVm, resumeVm } from './pause-vm.ts';
import { pinVcpus } from './pin-vcpus.ts';
import { resizeVm, type VmResizeOptions, type VmResizeResult } from './resize.ts';
import type { RestoreOptions, SnapshotOptions } from './snapshot.ts';
import { startVm, type VmStartOptions } from './start-vm.ts';
import { statisticsOf, type VmStatistics, watchStatistics, type WatchStatisticsOptions } from './statistics.ts';
import { endVm, recordEnd, settleHeld, type VmStopOptions } from './stop-vm.ts';
import type { TemplateOptions } from './make-template.ts';
import { inspectTemplate, Template } from './template.ts';
import type { FactoryOptions, VmFactory } from './vm-factory.ts';
import { splitOptions, type VmOptions } from './vm-options.ts';
import { VmGuest } from './vm-guest.ts';

/** How a VM is removed. */
export interface VmRemoveOptions extends CallOptions {
  /** end a VM that runs at once, without copying back the folders that its guest has copies of; default false */
  force?: boolean | undefined;
  /** hears what a user should know: of files in copied folders that have changed on both sides */
  onNotice?: ((notice: string) => void) | undefined;
}

/**
 * A virtual machine. One that this process created and did not detach ends with this process, however that ends.
 * Other objects and processes may use the same VM at the same time: they connect to it by its name.
 */
export class Vm extends VmGuest {
  #removal: Promise<void> | undefined;
  #owned: boolean;
  #detached: boolean;

  /** A way to the agent for one call. The session that there is, is wanted again when the guest can't be asked to end. */
  readonly #linkTo = async (call: CallOptions): Promise<AgentLink> => {
    if (this.link === undefined) return linkAgent(this.held.context.stateFolder, this.vmm.channels(), call);
    return { agent: this.agent, close: () => Promise.resolve() };
  };

  private constructor(opened: OpenedVm) {
    super(opened);
    this.#owned = opened.owned;
    this.#detached = opened.detached;
  }

  /**
   * Creates and starts a VM; resolves when its guest answers. Nothing is left behind when it fails. With `start: false` it is made only,
   * and waits for its `start`.
   * @throws {VmError} INVALID_CONFIG, INVALID_NAME, NAME_IN_USE, UNKNOWN_HYPERVISOR, UNSUPPORTED, FILE_NOT_FOUND, FILE_UNREADABLE,
   *   FILE_INVALID, HYPERVISOR_NOT_FOUND, HYPERVISOR_TOO_OLD, ACCEL_UNUSABLE, IMAGE_BUILD_FAILED, START_FAILED, START_TIMEOUT,
   *   GUEST_PANICKED, TIMEOUT, ABORTED
   */
  static async create(options: VmOptions = {}): Promise<Vm> {
    return new Vm(await createVm(options));
  }

  /**
   * Takes up a VM that runs, whoever created it. When all agent channels are in use it waits for one, for 30 s at most by default.
   * @throws {VmError} NOT_FOUND, NOT_RUNNING, STATE_INVALID, BUSY, TIMEOUT, ABORTED, AGENT_GONE
   */
  static async connect(name: string, options: VmConnectOptions = {}): Promise<Vm> {
    return new Vm(await connectVm(name, options));
  }

  /**
   * Takes up a VM in whatever state it is, without a connection to its guest: to start, pause, kill, rename or watch it.
   * @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME
   */
  static async open(name: string, options: Pick<VmConnectOptions, 'logger'> = {}): Promise<Vm> {
    return new Vm(await openVm(name, options));
  }

  /**
   * Connects to the VM of this name, starts it when it has ended, and creates it with these options when there is none. Of several
   * processes that ask at once one creates it, and the others connect. One that is there keeps its own configuration.
   * @throws {VmError} what `create`, `start` and `connect` throw
   */
  static async getOrCreate(name: string, options: VmOptions = {}): Promise<Vm> {
    const { logger, detached, startTimeoutMs } = splitOptions({ ...options, name });
    return getOrCreate(name, options, {
      create: (signal) => Vm.create({ ...options, name, signal, timeoutMs: undefined }),
      connect: (signal) => Vm.connect(name, { signal, logger }),
      start: async (signal) => {
        const vm = await Vm.open(name, { logger });
        return vm.start({ signal, startTimeoutMs, detached: detached ? true : undefined });
      },
    });
  }

  /**
   * Makes a VM that goes on where a snapshot was made; resolves when its guest answers, with fresh entropy, the time and its new name.
   * @param folder a snapshot's name, or the path of its folder, with a slash in it
   * @throws {VmError} NOT_FOUND, PERMISSION when it was signed with another key, FILE_NOT_FOUND, FILE_INVALID, INVALID_NAME, NAME_IN_USE, HYPERVISOR_NOT_FOUND, START_FAILED, TIMEOUT, ABORTED
   */
  static async restore(folder: string, options: RestoreOptions = {}): Promise<Vm> {
    return new Vm(await restoreVm(folder, options));
  }

  /**
   * Boots a guest up to where its agent answers and saves it, for VMs to be cloned from. Nothing is left behind when it fails.
   * @throws {VmError} NAME_IN_USE, UNSUPPORTED, IO (ENOSPC when there is no room for its memory), and what `create` throws
   */
  static async template(options: TemplateOptions = {}): Promise<Template<Vm>> {
    const { makeTemplate } = await import('./make-template.ts');
    return Vm.openTemplate((await makeTemplate(options)).name);
  }

  /** Takes up a template that there is. @throws {VmError} NOT_FOUND, FILE_INVALID, FILE_UNREADABLE, INVALID_NAME, PERMISSION */
  static async openTemplate(name: string): Promise<Template<Vm>> {
    return new Template(await inspectTemplate(name), (options) => Vm.create(options));
  }

  /**
   * A factory of VMs: booted, or cloned from a template, and with `cache` kept ready, so that one is there in a few milliseconds.
   * @throws {VmError} INVALID_ARGUMENT, INVALID_CONFIG, INVALID_NAME, NOT_FOUND when there is no such template
   */
  static async factory(options: FactoryOptions = {}): Promise<VmFactory<Vm>> {
    const { openFactory } = await import('./vm-factory.ts');
    return openFactory(options, (opened) => new Vm(opened));
  }

  /** All VMs of this user, running or not. Never fails because of one of them. */
  static list(): Promise<VmSummary[]> {
    return listVms();
  }

  /** Whether the VM outlives its creator. */
  get detached(): boolean {
    return this.#detached;
  }

  /** What the VMM can do, as data. */
  get capabilities(): Capabilities {
    return this.vmm.capabilities();
  }

  /**
   * Starts a VM that was made with `start: false`, or one that has ended; resolves when its guest answers. One that can't be started stays.
   * @throws {VmError} INVALID_STATE, NOT_FOUND, BUSY, and what `create` throws of the start
   */
  async start(options: VmStartOptions = {}): Promise<this> {
    await this.dropLink();
    await this.telemetry.span('start', { vm: this.name }, async () => {
      const { record, link } = await startVm(this.held, options, (_, message) =>
        this.telemetry.log('debug', message, { vm: this.name }),
      );
      this.link = link;
      this.#detached = record.detached;
      this.#owned = !record.detached;
    });
    // It has a keeper again, or needs none.
    await this.held.unwatch();
    return this;
  }

  /**
   * Gives the VM another name, whatever it is at; at no moment has it none or two.
   * @throws {VmError} NAME_IN_USE, INVALID_NAME, NOT_FOUND, BUSY
   */
  async rename(name: string): Promise<void> {
    const from = (await this.held.locate()).name;
    const record = this.held.moved(await this.store.rename(this, validateName(name)));
    await noteEvent(this.store, record, 'renamed', { from });
  }

  /** What happens to this VM, until it is removed, the signal comes or the iteration is left. */
  events(options: FollowOptions = {}): AsyncIterableIterator<LifeEvent> {
    return followEvents(options, { id: this.id });
  }

  /** What the VM uses, on the host and inside. @throws {VmError} VMM_GONE, NOT_FOUND, TIMEOUT, ABORTED */
  statistics(call?: CallOptions): Promise<VmStatistics> {
    return statisticsOf(this.held, this.link?.agent, call);
  }

  /** The same again and again, until the VM has ended, the signal comes or the iteration is left. */
  watchStatistics(options: WatchStatisticsOptions = {}): AsyncIterableIterator<VmStatistics> {
    return watchStatistics((signal) => this.statistics({ signal }), options);
  }

  /**
   * Takes the VM into this process's ownership: it ends with this process, or with the last that owns it.
   * @throws {VmError} INVALID_STATE, NOT_FOUND, VMM_GONE, BUSY
   */
  async adopt(): Promise<void> {
    await adoptVm(this.held);
    this.#owned = true;
    this.#detached = false;
  }

  /** Stops the guest's vCPUs; memory stays. */
  async pause(options?: CallOptions): Promise<void> {
    await pauseVm(this.held, options);
  }

  async resume(options?: CallOptions): Promise<void> {
    await resumeVm(this.held, options);
  }

  /**
   * Gives the VM another number of vCPUs or another size of memory; resolves when the guest uses it.
   * @throws {VmError} INVALID_ARGUMENT beyond its limits, INVALID_STATE, UNSUPPORTED, GUEST_REFUSED, TIMEOUT, ABORTED, VMM_FAILED
   */
  resize(options: VmResizeOptions): Promise<VmResizeResult> {
    return resizeVm(this.held, this.agent, options);
  }

  /**
   * Gives the running VM a device: a disk, a network, a folder and others; resolves when its guest has it. Where the VMM shares no folders the
   * guest gets a copy of one.
   * @throws {VmError} INVALID_ARGUMENT, INVALID_CONFIG, INVALID_STATE, UNSUPPORTED, FILE_NOT_FOUND, FILE_UNREADABLE, FILE_INVALID, PERMISSION,
   *   HOST_MISSING, BUSY, AGENT_FAILED, VMM_FAILED, TIMEOUT (after 60 s by default), ABORTED
   */
  attachDevice(device: DeviceSpec, call: CallOptions = {}): Promise<AttachResult> {
    return attachDevice(this.held, this.agent, device, call);
  }

  /**
   * Takes a device from the running VM; resolves when its guest has let go of it. A folder of which the guest has a copy is copied back, and
   * the copy stays in the guest.
   * @throws {VmError} INVALID_ARGUMENT when it has none of this id, GUEST_REFUSED, UNSUPPORTED, TIMEOUT (after 60 s by default), ABORTED
   */
  detachDevice(id: string, options: DetachOptions = {}): Promise<void> {
    return detachDevice(this.held, this.agent, id, options);
  }

  /**
   * Saves memory and devices; the VM stands still meanwhile. Disks are not part of it.
   * @param folder a name (`Vm.restore`, `listSnapshots`), or the path of a new or empty folder, with a slash in it
   * @throws {VmError} INVALID_ARGUMENT, NAME_IN_USE, INVALID_STATE, UNSUPPORTED, VMM_FAILED, IO, TIMEOUT, ABORTED
   */
  async snapshot(folder: string, options: SnapshotOptions = {}): Promise<void> {
    const { saveVm } = await import('./snapshot.ts');
    await saveVm(this.held, folder, options);
  }

  /**
   * Makes an image of the running VM's root file system, for `Vm.create({ image: NAME })`: its image with what was written above it. Its
   * commands stand still meanwhile.
   * @throws {VmError} INVALID_NAME, IMAGE_INVALID, COPY_LIMIT, UNSUPPORTED, AGENT_GONE, AGENT_FAILED, IO, TIMEOUT, ABORTED
   */
  async commit(name: string, options: CommitOptions = {}): Promise<RootImage> {
    const { commitVm } = await import('./commit.ts');
    return commitVm(this.held, this.agent, name, options);
  }

  /**
   * Makes VMs that go on where this one is now, each with entropy, a name and a machine id of its own. This one stands still while it is
   * saved: for tens of milliseconds where its memory is a file (`fileBackedMemRootDir`), which the forks then share copy-on-write.
   * @throws {VmError} INVALID_ARGUMENT, INVALID_NAME, NAME_IN_USE, INVALID_STATE, UNSUPPORTED, VMM_FAILED, IO, TIMEOUT, ABORTED; no fork is
   *   left then
   */
  async fork(count = 1, options: ForkOptions = {}): Promise<Vm[]> {
    const { forkVm } = await import('./fork.ts');
    return (await forkVm(this.held, count, options)).map((opened) => new Vm(opened));
  }

  /**
   * Binds vCPUs to CPUs of the host: those that there are now. `{ 0: [2], 1: [3] }` gives each of two a CPU of its own.
   * @throws {VmError} INVALID_ARGUMENT, UNSUPPORTED, PERMISSION, HOST_MISSING, VMM_GONE
   */
  pinVcpus(cpus: Readonly<Record<number, readonly number[]>>, call?: CallOptions): Promise<void> {
    return pinVcpus(this.held, cpus, call);
  }

  /** What the VMM says of this VM, from its start on, until it has ended or the signal comes. @throws {VmError} UNSUPPORTED */
  vmmEvents(signal?: AbortSignal): AsyncIterable<VmmEvent> {
    return this.vmm.vmmEvents(signal);
  }

  /**
   * Writes the guest's memory into a new ELF file, for crash(8) and gdb(1); the guest stands still meanwhile.
   * @throws {VmError} IO when the file is there or has not enough room, UNSUPPORTED, VMM_FAILED, TIMEOUT, ABORTED
   */
  dumpMemory(file: string, call?: CallOptions): Promise<void> {
    return this.vmm.dumpMemory(path.resolve(file), call);
  }

  /** Asks VMM and guest whether they are well. @throws {VmError} VMM_GONE, VMM_FAILED, GUEST_PANICKED, AGENT_GONE */
  async check(options?: CallOptions): Promise<void> {
    await this.vmm.check(options);
    await this.agent.ping(options);
  }

  /**
   * Ends the VM: the guest is asked to power off, then the VMM to end, then both are forced. Its files stay until `remove`. Folders that the
   * guest has copies of are copied back first, as by `bringBack`, unless it is forced; when they can't be, it goes on.
   * @throws {VmError} ABORTED, TIMEOUT; INVALID_STATE for a paused one with such folders; what `bringBack` throws
   */
  async stop(options: VmStopOptions = {}): Promise<void> {
    if (this.#owned) await this.held.watch();
    await this.telemetry.span('stop', { vm: this.name }, () => endVm(this.held, this.#linkTo, options));
    await this.dropLink();
  }

  /** Ends the VM at once: what its guest wrote to copies of folders of this host is lost. Its files stay until `remove`. */
  async kill(options?: CallOptions): Promise<void> {
    await this.held.locate();
    await this.dropLink();
    if (this.#owned) await this.held.watch();
    await this.vmm.kill(options);
    await recordEnd(this.held, 'killed');
  }

  /** Resolves when the VM has ended, with how the VMM did. `inspect` tells more, such as a panic. @throws {VmError} NOT_RUNNING, TIMEOUT, ABORTED */
  async wait(options?: CallOptions): Promise<VmmExit> {
    await this.held.locateIfThere();
    const exit = await this.vmm.wait(options);
    await settleHeld(this.held);
    return exit;
  }

  /** All that is known of it now. @throws {VmError} NOT_FOUND when it was removed, STATE_INVALID */
  async inspect(): Promise<VmInspection> {
    const { name } = await this.held.locate();
    return describeVm(this.store, name);
  }

  /**
   * Ends the VM if it runs, and removes everything of it. May be repeated. Folders that the guest of a running VM has copies of are copied back
   * first, as by `bringBack`, unless it is forced; when they can't be, it stays.
   * @throws {VmError} INVALID_STATE for a paused one with such folders; what `bringBack` throws
   */
  async remove({ force = false, onNotice, ...call }: VmRemoveOptions = {}): Promise<void> {
    if (!force && this.#removal === undefined && (await this.#isReadable())) {
      const back = await bringBackFirst(this.held, this.#linkTo, 'remove', call);
      if (back !== undefined) for (const notice of noticesOf(back)) onNotice?.(notice);
    }
    await this.dropLink();
    this.#removal ??= tearDown(this.held);
    try {
      await this.#removal;
      this.#owned = false;
    } catch (error) {
      this.#removal = undefined;
      throw error;
    }
  }

  /** One whose record can't be read is removed all the same. */
  async #isReadable(): Promise<boolean> {
    try {
      return (await this.held.locateIfThere()) !== undefined;
    } catch (error) {
      if (VmError.from(error).code !== 'STATE_INVALID') throw error;
      return false;
    }
  }

  /** Lets the VM outlive this process; no process of ours remains beside the VMM. */
  async detach(): Promise<void> {
    await detachVm(this.held);
    this.#owned = false;
    this.#detached = true;
  }

  /** Lets go of the VM: it lives on, unless this process owns it, in which case it goes on until this process ends. */
  async close(): Promise<void> {
    await this.dropLink();
    await this.vmm.disconnect();
    await this.held.unwatchIfGone();
  }

  /** Removes a VM that this object owns, also when its folders can't be copied back; lets go of any other. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#owned) return this.close();
    try {
      await this.remove();
    } finally {
      await this.remove({ force: true });
    }
  }
}
