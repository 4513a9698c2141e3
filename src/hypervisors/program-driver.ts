import { rmSync } from 'node:fs';
import { SOCKET_CHANNEL_NAME, SOCKET_DEVICE_ID, SOCKET_ID } from '../config/defaults.ts';
import { callScope, type CallOptions } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import { vmFiles, vmmFiles } from '../state/paths.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';
import { tail } from '../transports/log-tail.ts';
import type {
  ConsoleLocation,
  CreateOptions,
  GuestChannel,
  GuestSocket,
  HypervisorModule,
  VmContext,
  VmmExit,
} from './hypervisor.ts';
import type { LaunchPlan } from './launch-plan.ts';
import type { ProgramState } from './program-state.ts';
import { packed, unpacked } from './handover.ts';
import { unixChannel } from './unix-channel.ts';
import { VmmProcess } from './vmm-process.ts';
import { processStatistics, type VmmStatistics } from './vmm-statistics.ts';

/** Lines of the console in an error: a panic, its registers and its call trace, which follow the line that says why. */
const consoleLines = 50;

/** Milliseconds for a VMM that has broken a connection off to end. */
const endingMs = 5_000;

/** What such a VMM's folder gives to its driver. */
export interface ProgramParts extends Pick<HypervisorModule, 'plan' | 'probe'> {
  /** the agent channels that the plan makes: how many, whether the guest always learns of a hang-up, and what they lose */
  channels: { count: number; showsHangup: boolean; lossyWindow?: number };
  /** the VMM ended before it answered: its own words as an error */
  startFailure(exit: VmmExit, log: string): VmError;
  /** @throws {VmError} STATE_INVALID */
  parseState(value: unknown): ProgramState;
}

/** What is the same for every VMM that is one program with its agent channels on unix sockets. */
export abstract class ProgramDriver {
  protected readonly context: VmContext;
  protected readonly vmm: VmmProcess;
  readonly #parts: ProgramParts;
  #binary = '';
  #version: string | undefined;

  constructor(context: VmContext, parts: ProgramParts) {
    this.context = context;
    this.vmm = new VmmProcess(context);
    this.#parts = parts;
  }

  /** The VMM's program, and its version as it says it; empty and undefined until they are known. */
  protected get program(): { binary: string; version: string | undefined } {
    return { binary: this.#binary, version: this.#version };
  }

  /** Makes what must be there before the plan's files: nothing for a VMM that works in its runtime folder. */
  protected async makeFolders(_plan: LaunchPlan): Promise<void> {}

  /** What the VMM is told. */
  protected plan(): LaunchPlan {
    return this.#parts.plan(this.context, this.#binary);
  }

  /** Resolves when the VMM that was just started answers. */
  protected abstract answers(call: CallOptions): Promise<void>;

  async create({ keeper }: CreateOptions = {}): Promise<void> {
    this.vmm.expect(keeper);
    this.#binary = await this.vmm.findBinary(async (host, path, arch) => {
      const verdict = await this.#parts.probe(host, path, arch);
      this.#version = verdict.version;
      return verdict;
    });
    // Those of a VMM that has ended are not this one's.
    rmSync(vmFiles.devices(this.context.stateFolder), { force: true });
    const plan = this.#parts.plan(this.context, this.#binary);
    await this.makeFolders(plan);
    await this.vmm.writeFiles(plan);
  }

  async start(options: CallOptions = {}): Promise<void> {
    const scope = callScope('start of the VMM', options);
    const call = { signal: scope.signal };
    const over = new AbortController();
    let asked: Promise<void> | undefined;
    try {
      await this.vmm.launch(this.#parts.plan(this.context, this.#binary), call);
      const ended = this.vmm.wait({ signal: over.signal }).then(async (exit) => {
        throw this.#parts.startFailure(exit, (await this.lastWords()).log);
      });
      asked = this.answers({ signal: AbortSignal.any([scope.signal, over.signal]) });
      const answered = asked.catch(async (error: unknown) => {
        // A connection that breaks off means that the VMM is ending: its exit says why.
        if (VmError.from(error).code !== 'VMM_GONE') throw error;
        // Unless it lives on: then its connection broke for a reason of its own.
        await this.vmm.wait({ signal: over.signal, timeoutMs: endingMs }).catch(() => {
          throw error;
        });
        return ended;
      });
      await Promise.race([Promise.all([answered, this.vmm.limited()]), ended]);
    } catch (error) {
      await this.vmm.kill();
      // Whoever still waits for an answer holds a lock, and there is no VMM left to answer.
      over.abort();
      await asked?.catch(() => undefined);
      scope.throwIfEnded();
      throw error;
    } finally {
      // A wait that goes on would keep the caller's process alive as long as the VM.
      over.abort();
      scope.release();
    }
  }

  async kill(options: CallOptions = {}): Promise<void> {
    await this.vmm.kill(options);
  }

  async wait(options: CallOptions = {}): Promise<VmmExit> {
    return this.vmm.wait(options);
  }

  async pids(): Promise<number[]> {
    const identity = this.vmm.identity();
    return identity !== undefined && isAlive(identity) ? [identity.pid] : [];
  }

  process(): ProcessIdentity | undefined {
    return this.vmm.identity();
  }

  async detach(): Promise<void> {
    await this.vmm.detach();
  }

  async own(): Promise<void> {
    await this.vmm.own();
  }

  async leave(): Promise<void> {
    await this.vmm.leave();
  }

  /** Which thread is which vCPU; absent for a VMM whose vCPUs are no threads of it. */
  threadIds?(options?: CallOptions): Promise<Map<number, number>>;

  async statistics(options: CallOptions = {}): Promise<VmmStatistics> {
    return processStatistics(this.vmm.identity(), (await this.threadIds?.(options)) ?? new Map());
  }

  /** Nothing by default: a driver that holds no connection between calls has nothing to let go of. */
  async disconnect(): Promise<void> {}

  async cleanup(): Promise<void> {
    await this.vmm.cleanup();
    const plan = this.#planned();
    if (plan !== undefined) await this.vmm.removeFiles(plan);
  }

  /** The plan, if there can be one; for a configuration that it refuses, nothing was made. */
  #planned(): LaunchPlan | undefined {
    try {
      return this.#parts.plan(this.context, this.#binary);
    } catch (error) {
      if (error instanceof VmError) return undefined;
      throw error;
    }
  }

  async saveState(): Promise<ProgramState> {
    return { schema: 1, binary: this.#binary, version: this.#version, process: this.vmm.identity() };
  }

  async loadState(value: unknown): Promise<void> {
    const state = this.#parts.parseState(value);
    this.#binary = state.binary;
    this.#version = state.version;
    if (state.process !== undefined) this.vmm.adopt(state.process);
  }

  /** The VM as bytes, for another process's driver object: its context, and what `saveState` says. */
  async toGrpc(): Promise<Uint8Array> {
    return packed(this.context, await this.saveState());
  }

  /** @throws {VmError} STATE_INVALID */
  async fromGrpc(bytes: Uint8Array): Promise<void> {
    const { context, state } = unpacked(bytes);
    Object.assign(this.context, context);
    await this.loadState(state);
  }

  async console(): Promise<ConsoleLocation> {
    const { runtimeFolder } = this.context;
    return { protocol: 'unix', path: vmmFiles.consoleSocket(runtimeFolder), log: vmmFiles.console(runtimeFolder) };
  }

  /** @throws {VmError} UNSUPPORTED for a vsock */
  async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (useVsock)
      throw new VmError('UNSUPPORTED', 'a vsock is not offered by this version of the driver', {
        operation: 'generateSocket',
      });
    const hostPath = vmmFiles.agentSocket(this.context.runtimeFolder, 0);
    return { kind: 'unix', id: SOCKET_ID, deviceId: SOCKET_DEVICE_ID, name: SOCKET_CHANNEL_NAME, hostPath };
  }

  channels(): readonly GuestChannel[] {
    const { count, showsHangup, lossyWindow } = this.#parts.channels;
    return Array.from({ length: count }, (_, port) =>
      unixChannel(`agent.channel.${port}`, vmmFiles.agentSocket(this.context.runtimeFolder, port), {
        showsHangup,
        survivesRestore: true,
        lossyWindow,
      }),
    );
  }

  async lastWords(): Promise<{ log: string; console: string }> {
    const console = await this.console();
    return {
      log: await tail(vmFiles.vmmLog(this.context.stateFolder)),
      console: await tail(console.log, { lines: consoleLines }),
    };
  }
}
