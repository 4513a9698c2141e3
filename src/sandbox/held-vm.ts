import { VmError } from '../errors.ts';
import type { Hypervisor, VmContext } from '../hypervisors/hypervisor.ts';
import { manage } from '../hypervisors/lifecycle.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import type { RootConfig } from '../images/roots/root-image.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';
import type { VmRecord } from '../state/record.ts';
import type { VmStore } from '../state/store.ts';
import type { Keeper } from '../transports/process/keeper.ts';
import { type WatchShare, watchOwner } from '../transports/process/owner-watch.ts';
import { pruneCommand, recall, type VmSettings } from './context.ts';
import type { CopiedFolder } from './copied-folders.ts';
import type { Scratch } from './scratch.ts';
import { statusOf } from './status.ts';

/** A VM as a handle holds it: found on disk by its id, whatever its name has become, and never mixed up with a later one. */
export class HeldVm {
  readonly store: VmStore;
  readonly context: VmContext;
  /** what the image that it was made of says of its commands; absent for the default guest and for a disk */
  readonly imageConfig: RootConfig | undefined;
  /** the layer above its root image; absent for the usual one, in memory */
  readonly scratch: Scratch | undefined;
  /** folders of this host that its guest has copies of */
  readonly folders: readonly CopiedFolder[];
  /**
   * began with the VM, and watches over this process until it has a VMM to keep; one that is started later gets another keeper. Absent
   * for a VM that was there already
   */
  readonly keeper: Keeper | undefined;
  #hypervisor: Hypervisor;
  #watch: Promise<WatchShare> | undefined;

  constructor(
    store: VmStore,
    context: VmContext,
    hypervisor: Hypervisor,
    settings: Pick<VmSettings, 'imageConfig' | 'scratch' | 'folders'> & { keeper?: Keeper | undefined },
  ) {
    this.store = store;
    this.context = context;
    this.imageConfig = settings.imageConfig;
    this.scratch = settings.scratch;
    this.folders = settings.folders ?? [];
    this.keeper = settings.keeper;
    this.#hypervisor = hypervisor;
  }

  /** Takes up a VM from its record, in whatever state it is. @throws {VmError} STATE_INVALID, UNSUPPORTED */
  static async fromRecord(store: VmStore, record: VmRecord): Promise<HeldVm> {
    const { module, context, ...settings } = await recall(store, record);
    const hypervisor = manage(module, context);
    const status = statusOf(record);
    // The VMM is not asked: it may stand still, and what must not rely on the record asks first.
    if (status === 'running' || status === 'paused') await hypervisor.loadState(record.driver, status);
    return new HeldVm(store, context, hypervisor, settings);
  }

  /**
   * Has what is left of the VM removed should this process be killed while no keeper would do it: before the VMM runs, and after it.
   * @throws {VmError} START_FAILED
   */
  async watch(): Promise<void> {
    if (this.keeper?.waits === true && !this.keeper.isSettled) return;
    this.#watch ??= watchOwner(pruneCommand);
    try {
      await this.#watch;
    } catch (error) {
      this.#watch = undefined;
      throw error;
    } finally {
      // One that waits in the VM's folder may still be making something there.
      await this.keeper?.end();
    }
  }

  /** Ends that: the VM has a keeper, is to stay, or is gone. */
  async unwatch(): Promise<void> {
    await this.keeper?.end();
    const watch = this.#watch;
    this.#watch = undefined;
    await (await watch)?.end();
  }

  /** The same, when another one has removed the VM. One that can't be read is there. */
  async unwatchIfGone(): Promise<void> {
    if (this.#watch === undefined && this.keeper?.waits !== true) return;
    const isGone = await this.locateIfThere().then(
      (record) => record === undefined,
      () => false,
    );
    if (isGone) await this.unwatch();
  }

  get id(): string {
    return this.context.id;
  }

  /** the name that it had when it was last looked up */
  get name(): string {
    return this.context.name;
  }

  get hypervisor(): Hypervisor {
    return this.#hypervisor;
  }

  /**
   * The VM's present record. Its folder may have got another name: from here on that is used.
   * @throws {VmError} NOT_FOUND when it was removed, also when another VM has its name now; STATE_INVALID
   */
  async locate(): Promise<VmRecord> {
    const record = this.moved(await this.store.find(this));
    const status = statusOf(record);
    // Started anew since, by another handle: the driver here knows the VMM that has ended.
    if ((status === 'running' || status === 'paused') && !isSame(record.vmm, this.#hypervisor.process())) {
      await (await this.renew()).loadState(record.driver, status);
    }
    return record;
  }

  /** The same; undefined when the VM was removed. @throws {VmError} STATE_INVALID */
  async locateIfThere(): Promise<VmRecord | undefined> {
    try {
      return await this.locate();
    } catch (error) {
      if (VmError.from(error).code !== 'NOT_FOUND') throw error;
      return undefined;
    }
  }

  /** Goes on with the name that a record says. */
  moved(record: VmRecord): VmRecord {
    this.context.name = record.name;
    this.context.stateFolder = this.store.folder(record.name);
    return record;
  }

  /** Changes its record. @throws {VmError} as `locate` does; BUSY, IO */
  async change(change: Partial<VmRecord>): Promise<VmRecord> {
    return this.moved(await this.store.update(this, change));
  }

  /** Gives it a driver that has started nothing yet: one that has ended its VMM is of no more use. */
  async renew(): Promise<Hypervisor> {
    this.#hypervisor = manage(await loadDriver(this.#hypervisor.type), this.context);
    return this.#hypervisor;
  }
}

function isSame(one: ProcessIdentity | undefined, other: ProcessIdentity | undefined): boolean {
  return one?.pid === other?.pid && one?.startTime === other?.startTime;
}
