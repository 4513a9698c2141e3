import { callScope, type CallOptions } from '../config/call-options.ts';
import type { HypervisorType } from '../config/hypervisor-type.ts';
import { validateName } from '../config/names.ts';
import { VmError } from '../errors.ts';
import type { Exec, ExecOptions, GuestAgent } from '../guest/agent.ts';
import type { Capabilities } from '../hypervisors/capabilities.ts';
import type { Hypervisor, VmmExit } from '../hypervisors/hypervisor.ts';
import { manage } from '../hypervisors/lifecycle.ts';
import type { VmRecord } from '../state/record.ts';
import { VmStore } from '../state/store.ts';
import { type AgentLink, linkAgent } from './agent-link.ts';
import { bringUp, tearDown } from './bring-up.ts';
import { recall } from './context.ts';
import type { Phase } from './events.ts';
import { describeVm, listVms, type VmInspection, type VmSummary } from './inspect.ts';
import { statusOf } from './status.ts';
import { endVm, recordEnd, type VmStopOptions } from './stop-vm.ts';
import { madeUpName } from './vm-name.ts';
import { splitOptions, type VmOptions } from './vm-options.ts';

/**
 * A virtual machine. One that this process created and did not detach ends with this process, however that ends.
 * Other objects and processes may use the same VM at the same time: they connect to it by its name.
 */
export class Vm {
  readonly id: string;
  readonly name: string;
  readonly hypervisor: HypervisorType;
  readonly #store: VmStore;
  readonly #hypervisor: Hypervisor;
  #link: AgentLink | undefined;
  #removal: Promise<void> | undefined;
  #owned: boolean;
  #detached: boolean;

  private constructor(store: VmStore, record: VmRecord, hypervisor: Hypervisor, link: AgentLink, owned: boolean) {
    this.id = record.id;
    this.name = record.name;
    this.hypervisor = hypervisor.type;
    this.#store = store;
    this.#hypervisor = hypervisor;
    this.#link = link;
    this.#owned = owned;
    this.#detached = record.detached;
  }

  /**
   * Creates and starts a VM; resolves when its guest answers. Nothing is left behind when it fails.
   * @throws {VmError} INVALID_CONFIG, INVALID_NAME, NAME_IN_USE, UNKNOWN_HYPERVISOR, UNSUPPORTED, FILE_NOT_FOUND, FILE_UNREADABLE,
   *   FILE_INVALID, HYPERVISOR_NOT_FOUND, HYPERVISOR_TOO_OLD, ACCEL_UNUSABLE, IMAGE_BUILD_FAILED, START_FAILED, START_TIMEOUT,
   *   GUEST_PANICKED, TIMEOUT, ABORTED
   */
  static async create(options: VmOptions = {}): Promise<Vm> {
    const split = splitOptions(options);
    const began = performance.now();
    const report = (phase: Phase, message: string): void =>
      split.onEvent({ type: 'phase', phase, message, elapsedMs: Math.round(performance.now() - began) });
    const scope = callScope('create of the VM', split.call);
    const call = { signal: scope.signal };
    try {
      // The schema and the builder are heavy, and a process that only connects needs neither.
      const { prepare } = await import('./prepare.ts');
      const prepared = await prepare({ ...split, call }, report);
      scope.throwIfEnded();
      const { networkNamespace, startTimeoutMs } = split;
      const name = split.name ?? madeUpName();
      const { store, record, hypervisor, link } = await bringUp(
        { ...prepared, name, networkNamespace, startTimeoutMs },
        report,
        call,
      );
      const vm = new Vm(store, record, hypervisor, link, true);
      try {
        if (split.detached) await vm.detach();
        report('ready', `${name} is ready`);
      } catch (error) {
        await vm.remove();
        throw error;
      }
      return vm;
    } finally {
      scope.release();
    }
  }

  /**
   * Takes up a VM that runs, whoever created it.
   * @throws {VmError} NOT_FOUND, NOT_RUNNING, STATE_INVALID, BUSY, TIMEOUT, ABORTED, AGENT_GONE
   */
  static async connect(name: string, options: CallOptions = {}): Promise<Vm> {
    const store = new VmStore();
    const record = await store.read(validateName(name));
    const status = statusOf(record);
    if (status !== 'running') {
      throw new VmError(status === 'paused' ? 'INVALID_STATE' : 'NOT_RUNNING', `${name} is ${status}`, {
        name,
        hypervisor: record.hypervisor,
      });
    }
    const { module, context } = await recall(store, record);
    const hypervisor = manage(module, context);
    await hypervisor.loadState(record.driver);
    const limit = { signal: options.signal, timeoutMs: options.timeoutMs ?? 30_000 };
    const link = await linkAgent(context.stateFolder, hypervisor.channels(), limit);
    return new Vm(store, record, hypervisor, link, false);
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
    return this.#hypervisor.capabilities();
  }

  /** The guest's agent. @throws {VmError} AGENT_GONE after `close`, `stop`, `kill` or `remove` */
  get agent(): GuestAgent {
    if (this.#link === undefined)
      throw new VmError('AGENT_GONE', `this handle of ${this.name} is closed`, { name: this.name });
    return this.#link.agent;
  }

  /** Runs a command in the guest: argv, or a string for its shell. See {@link GuestAgent.exec}. */
  exec(command: string | readonly string[], options?: ExecOptions): Exec {
    return this.agent.exec(command, options);
  }

  /** Stops the guest's vCPUs; memory stays. */
  async pause(options?: CallOptions): Promise<void> {
    await this.#hypervisor.pause(options);
    await this.#store.update(this.name, { status: 'paused' });
  }

  async resume(options?: CallOptions): Promise<void> {
    await this.#hypervisor.resume(options);
    await this.#store.update(this.name, { status: 'running' });
  }

  /** Asks VMM and guest whether they are well. @throws {VmError} VMM_GONE, VMM_FAILED, GUEST_PANICKED, AGENT_GONE */
  async check(options?: CallOptions): Promise<void> {
    await this.#hypervisor.check(options);
    await this.agent.ping(options);
  }

  /**
   * Ends the VM: the guest is asked to power off, then the VMM to end, then both are forced. Its files stay until `remove`.
   * @throws {VmError} ABORTED, TIMEOUT
   */
  async stop(options: VmStopOptions = {}): Promise<void> {
    const link = async (): Promise<AgentLink> => ({ agent: this.agent, close: () => this.#dropLink() });
    await endVm({ store: this.#store, name: this.name, hypervisor: this.#hypervisor, link }, options);
    await this.#dropLink();
  }

  /** Ends the VM at once. Its files stay until `remove`. */
  async kill(options?: CallOptions): Promise<void> {
    await this.#dropLink();
    await this.#hypervisor.kill(options);
    await recordEnd({ store: this.#store, name: this.name, hypervisor: this.#hypervisor }, 'killed');
  }

  /** Resolves when the VM has ended, with how. */
  async wait(options?: CallOptions): Promise<VmmExit> {
    return this.#hypervisor.wait(options);
  }

  inspect(): Promise<VmInspection> {
    return describeVm(this.#store, this.name);
  }

  /** Ends the VM if it runs, and removes everything of it. May be repeated. */
  async remove(): Promise<void> {
    await this.#dropLink();
    this.#removal ??= tearDown(this.#store, this, this.#hypervisor);
    try {
      await this.#removal;
      this.#owned = false;
    } catch (error) {
      this.#removal = undefined;
      throw error;
    }
  }

  /** Lets the VM outlive this process; no process of ours remains beside the VMM. */
  async detach(): Promise<void> {
    await this.#hypervisor.detach();
    this.#owned = false;
    this.#detached = true;
    await this.#store.update(this.name, { detached: true, owner: undefined, keeper: undefined });
  }

  /** Lets go of the VM: it lives on, unless this process owns it, in which case it goes on until this process ends. */
  async close(): Promise<void> {
    await this.#dropLink();
    await this.#hypervisor.disconnect();
  }

  /** Removes a VM that this object owns; lets go of any other. */
  async [Symbol.asyncDispose](): Promise<void> {
    await (this.#owned ? this.remove() : this.close());
  }

  async #dropLink(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    await link?.close();
  }
}
