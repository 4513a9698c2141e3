import type { Duplex } from 'node:stream';
import type { CallOptions } from '../config/call-options.ts';
import type { FieldUse } from '../config/field-use.ts';
import type { GuestArch, HostFacts } from '../config/host.ts';
import type { HypervisorType } from '../config/hypervisor-type.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';
import type { ConfinementLevel } from '../confinement/level.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';
import type { Keeper } from '../transports/process/keeper.ts';
import type { Capabilities } from './capabilities.ts';
import type { Device, MemoryDevice } from './device.ts';
import type { LaunchPlan } from './launch-plan.ts';
import type { VmmEvent } from './vmm-event.ts';
import type { VmmStatistics } from './vmm-statistics.ts';

/*
 * The interface of a hypervisor, in virtcontainers' vocabulary.
 *
 * Order: create, then addDevice any number of times, then start. A running VM is paused and resumed; a paused one can be
 * saved. stop ends it; cleanup, allowed before start and after stop, removes what the driver made. A driver object that
 * did not create its VM begins with loadState.
 * Idempotence: disconnect and cleanup may be repeated; everything else in a wrong state rejects with INVALID_STATE.
 * Concurrency: operations of one object run one after the other, in the order of the calls (lifecycle.ts sees to it).
 * Nothing succeeds without doing it: what a VMM can't do rejects with UNSUPPORTED, and `capabilities` says so beforehand.
 */

/** What a driver needs to know of its VM. Paths are absolute. */
export interface VmContext {
  /** 12 hexadecimal digits, unique on the host */
  id: string;
  name: string;
  config: HypervisorConfig;
  /** the accelerator that the host's probe chose */
  accel: 'kvm' | 'tcg';
  /** memory of the host, which bounds what can be plugged later */
  hostMemoryMiB: number;
  /** path of the network namespace in which the VMM is started; ours when absent */
  networkNamespace?: string | undefined;
  /** how the VMM is confined; `off` when absent */
  confinement?: ConfinementLevel | undefined;
  /** CPUs' worth of time that the VMM may use; no limit when absent */
  cpuLimit?: number | undefined;
  /** folder of the VMM: sockets and logs */
  runtimeFolder: string;
  /** folder of the VM's state: ours alone */
  stateFolder: string;
  /** argv of a command that clears the VM after its owner died */
  pruneArgv: readonly string[];
}

/** A byte stream into the guest, for an agent. */
export interface GuestChannel {
  /** name, unique in the VM; at most one client at a time holds it */
  readonly name: string;
  /** whether the guest learns that the host's side hung up */
  readonly showsHangup: boolean;
  /** whether a connection lives on through save and restore */
  readonly survivesRestore: boolean;
  /**
   * of a channel that loses what one side sends while the other can't take it: how many bytes of an output may be under way; absent
   * for a channel that loses nothing
   */
  readonly lossyWindow?: number | undefined;
  open(options: CallOptions): Promise<Duplex>;
}

/** How a VMM's process ended. */
export interface VmmExit {
  code?: number | undefined;
  signal?: string | undefined;
  /** in the VMM's own words, such as `guest-shutdown` */
  reason?: string | undefined;
  /** ISO 8601, UTC; absent when nobody saw when it was */
  at?: string | undefined;
}

export interface CreateOptions extends CallOptions {
  /** the keeper that waits for the VMM already; the start begins one when absent */
  keeper?: Keeper | undefined;
}

export interface StopOptions extends CallOptions {
  /** end the VMM at once, without asking it */
  force?: boolean | undefined;
}

export interface SaveOptions extends CallOptions {
  /** hears how many bytes have been written */
  onProgress?: ((bytes: number) => void) | undefined;
  /**
   * folder of the snapshot that was made of this VM last: a VMM that can tell what has changed since writes only that, on top of a
   * copy. What results is complete either way
   */
  base?: string | undefined;
  /** several VMs are to go on from it: a VMM that can has them share its memory, which is then a file of its own in the folder */
  forClones?: boolean | undefined;
}

export interface RestoreOptions extends CallOptions {
  /** the guest may go on at once, without a `resume`: who restores it is ready for that */
  goOn?: boolean | undefined;
  /** its memory must be able to grow: Cloud Hypervisor's, which it else maps from its file, can't then. Slower, and of no account to the others */
  growable?: boolean | undefined;
}

/** Where a guest's console can be found. */
export interface ConsoleLocation {
  /** `file`: it can only be read; `unix`, `pty`: one client at a time reads and writes */
  protocol: 'file' | 'unix' | 'pty';
  path: string;
  /** the file that keeps what the guest printed, whoever listens; for protocol `file` the same as `path` */
  log: string;
}

/** A socket between host and guest, as virtcontainers' generateSocket makes one. */
export type GuestSocket =
  | { kind: 'unix'; id: string; deviceId: string; name: string; hostPath: string }
  | { kind: 'vsock'; contextId: number; port: number }
  | { kind: 'hybrid-vsock'; udsPath: string; port: number };

/** Operations that every VMM has. */
interface Lifecycle {
  /** Prepares the VM: files and folders, nothing started. */
  create(options?: CreateOptions): Promise<void>;
  /** Starts the VMM; resolves when it answers. The guest may still be booting. */
  start(options?: CallOptions): Promise<void>;
  /** Ends the VMM and waits until its process is gone: asked first, then forced. */
  stop(options?: StopOptions): Promise<void>;
  /** Asks the VMM whether it is well. @throws {VmError} VMM_GONE, VMM_FAILED or GUEST_PANICKED */
  check(options?: CallOptions): Promise<void>;
  /** Process ids, the VMM's own first. Empty when it does not run. */
  pids(): Promise<number[]>;
  console(): Promise<ConsoleLocation>;
  /** Lets go of every connection to the VMM; the VM runs on. */
  disconnect(): Promise<void>;
  /** Removes what the driver made on the host. */
  cleanup(): Promise<void>;
  /** What another process needs to go on with this VM: plain data. */
  saveState(): Promise<unknown>;
  /** Takes up a VM from its saved state. @throws {VmError} STATE_INVALID */
  loadState(state: unknown): Promise<void>;
  generateSocket(useVsock: boolean): Promise<GuestSocket>;
}

/** Where a device that was plugged is found. */
export interface PluggedDevice {
  /** in the guest: a PCI address, or addresses from the root bus down with slashes between (`02/05`), by the VMM */
  guestPath?: string | undefined;
  /** of a serial port: the unix socket of the host at its other end, for one client at a time */
  socket?: string | undefined;
}

/** Operations that some VMMs have. */
interface Optional {
  /** Thread id by vCPU number. */
  threadIds(options?: CallOptions): Promise<Map<number, number>>;
  pause(options?: CallOptions): Promise<void>;
  resume(options?: CallOptions): Promise<void>;
  /** Saves memory and devices of a paused VM into an empty folder; the VM stays paused. */
  save(folder: string, options?: SaveOptions): Promise<void>;
  /**
   * Starts the VMM with what `save` wrote; resolves when the guest is as it was. In place of `start`.
   * @returns whether it stands still; with `goOn` a VMM that can let it go on by itself has done so, or is about to
   */
  restore(folder: string, options?: RestoreOptions): Promise<'paused' | 'running'>;
  /** Writes the guest's memory into a new ELF file; the guest stands still meanwhile. */
  dumpMemory(file: string, options?: CallOptions): Promise<void>;
  addDevice(device: Device): Promise<void>;
  /** Resolves when the guest has been given it; it may still be loading a driver. */
  hotplugAddDevice(device: Device, options?: CallOptions): Promise<PluggedDevice>;
  hotplugRemoveDevice(device: Device, options?: CallOptions): Promise<void>;
  /** Resolves with the totals before and after, as the VMM says them, and the memory device that was added, if one was. */
  resizeMemory(
    memoryMiB: number,
    blockSizeMiB: number,
    probe: boolean,
    options?: CallOptions,
  ): Promise<{ beforeMiB: number; memoryMiB: number; device?: MemoryDevice }>;
  resizeVcpus(vcpus: number, options?: CallOptions): Promise<{ before: number; after: number }>;
  toGrpc(): Promise<Uint8Array>;
  fromGrpc(state: Uint8Array): Promise<void>;
}

/** What users of a hypervisor hold: every operation, in order and state (made by lifecycle.ts). */
export interface Hypervisor extends Omit<Lifecycle, 'loadState'>, Optional {
  readonly type: HypervisorType;
  readonly state: VmState;
  capabilities(): Capabilities;
  config(): HypervisorConfig;
  /**
   * Takes up a VM from its saved state.
   * @param known whether it runs or is paused; the VMM, which must answer, is asked when absent
   * @throws {VmError} STATE_INVALID
   */
  loadState(state: unknown, known?: 'running' | 'paused'): Promise<void>;
  /** Sends SIGKILL to the VMM and waits until it is gone. */
  kill(options?: CallOptions): Promise<void>;
  /** Waits until the VMM has ended. */
  wait(options?: CallOptions): Promise<VmmExit>;
  /** Leaves the VM running without an owner: no process remains beside the VMM's. */
  detach(): Promise<void>;
  /**
   * Makes a running VM end with this process too, or, if nobody owns it, with this process.
   * @throws {VmError} VMM_GONE
   */
  own(): Promise<void>;
  /** Lets go of the VM where another process owns it as well: it ends with that one from here on. @throws {VmError} INVALID_STATE */
  leave(): Promise<void>;
  /** What the VMM uses of the host. @throws {VmError} VMM_GONE, TIMEOUT, ABORTED */
  statistics(options?: CallOptions): Promise<VmmStatistics>;
  /**
   * What the VMM says of its VM, from its start on, until it has ended or the signal comes.
   * @throws {VmError} UNSUPPORTED on a VMM that tells nothing
   */
  vmmEvents(signal?: AbortSignal): AsyncIterable<VmmEvent>;
  /** The VMM's process. Undefined while there is none. */
  process(): ProcessIdentity | undefined;
  channels(): readonly GuestChannel[];
  /** Last lines of the VMM's log and of the guest's console, for errors. */
  lastWords(): Promise<{ log: string; console: string }>;
}

/** What the folder of a VMM implements. An operation that its capabilities refuse is absent. */
export interface Driver extends Lifecycle, Partial<Optional> {
  kill(options?: CallOptions): Promise<void>;
  wait(options?: CallOptions): Promise<VmmExit>;
  detach(): Promise<void>;
  own(): Promise<void>;
  leave(): Promise<void>;
  statistics(options?: CallOptions): Promise<VmmStatistics>;
  /** absent on a VMM that tells nothing */
  vmmEvents?(signal?: AbortSignal): AsyncIterable<VmmEvent>;
  process(): ProcessIdentity | undefined;
  channels(): readonly GuestChannel[];
  lastWords(): Promise<{ log: string; console: string }>;
  /** What the VMM that was found can do, by its version and this VM's configuration; the module's capabilities when absent. */
  offers?(): Capabilities;
  /** Whether the guest is running or paused, as the VMM says. */
  runState(options?: CallOptions): Promise<'running' | 'paused'>;
}

export const vmStates = ['none', 'created', 'running', 'paused', 'stopped'] as const;
export type VmState = (typeof vmStates)[number];

/** What this host can do for one VMM, for `doctor` and for refusing early. */
export interface HostVerdict {
  usable: boolean;
  /** path of the program */
  path?: string | undefined;
  version?: string | undefined;
  /** why not, or what to know; each with what to do about it */
  findings: readonly { problem: string; advice: string }[];
}

/** The door of a VMM's folder. */
export interface HypervisorModule {
  readonly type: HypervisorType;
  /** of the newest version that is known, with every device; `Driver.offers` may be less */
  readonly capabilities: Capabilities;
  readonly fields: FieldUse;
  /** the accelerators that it can run on; empty for one that is no matter of this host's KVM */
  readonly accels: readonly ('kvm' | 'tcg')[];
  /** whether a guest image is booted (the mock's guest is the host) */
  readonly bootsGuest: boolean;
  /** it has the files of a root image in a folder, `vmFiles.root`, instead of the image as a disk */
  readonly unpacksImage?: true;
  /** it boots kernels as a distribution packs them (bzImage), and no uncompressed ones */
  readonly bzImageOnly?: true;
  /** it boots uncompressed kernels (ELF), and some of its versions nothing else */
  readonly bootsElf?: true;
  /** whether its program, or one in front of it, confines the VMM, which we then don't; never when absent. Pure */
  confinesItself?(config: HypervisorConfig): boolean;
  /** Pure: what the VMM would be told. `binary` is the VMM's path as found by `probe`. */
  plan(context: VmContext, binary: string): LaunchPlan;
  driver(context: VmContext): Driver;
  probe(host: HostFacts, hypervisorPath?: string, arch?: GuestArch): Promise<HostVerdict>;
  /**
   * Gives back what a VM took of the host outside its folders, after its VMM has ended without its driver's `cleanup`; absent for a VMM
   * that takes nothing there. May be repeated.
   */
  release?(vm: { id: string; stateFolder: string }): Promise<void>;
}
