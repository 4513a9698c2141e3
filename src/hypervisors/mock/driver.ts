import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import { isAlive, type ProcessIdentity, signalProcess } from '../../state/process-identity.ts';
import { tail } from '../../transports/log-tail.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { Device, MemoryDevice } from '../device.ts';
import type { ConsoleLocation, Driver, GuestChannel, GuestSocket, StopOptions, VmContext, VmmExit } from '../hypervisor.ts';
import { unixChannel } from '../unix-channel.ts';
import { VmmProcess } from '../vmm-process.ts';
import { MockControl } from './control.ts';
import { deviceId, plugged, unplugged, withVcpus } from './devices.ts';
import { failAsTold, startFailure } from './errors.ts';
import { agentChannels, plan } from './plan.ts';
import { probe } from './probe.ts';
import { type MockState, parseState } from './state.ts';

/** Milliseconds that the agent gets to end its processes before it is killed. */
const quitMs = 5_000;

/** A VMM without a virtual machine: the same rules, files and agent, for tests of users' code. */
export class MockDriver implements Driver {
  readonly #context: VmContext;
  readonly #control: MockControl;
  readonly #vmm: VmmProcess;
  #binary = '';

  constructor(context: VmContext) {
    this.#context = context;
    this.#control = new MockControl(context.runtimeFolder);
    this.#vmm = new VmmProcess(context);
  }

  async create(options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('create', options);
    this.#binary = await this.#vmm.findBinary(probe);
    await this.#vmm.writeFiles(plan(this.#context, this.#binary));
  }

  async start(options: CallOptions = {}): Promise<void> {
    const scope = callScope('start of the mock', options);
    const answered = new AbortController();
    try {
      await this.#failAsTold('start', { signal: scope.signal });
      await this.#vmm.launch(plan(this.#context, this.#binary), { signal: scope.signal });
      const ended = this.#vmm.wait({ signal: answered.signal }).then(async (exit) => {
        throw startFailure(exit, (await this.lastWords()).log);
      });
      const listening = connectUnix(vmmFiles.agentSocket(this.#context.runtimeFolder, 0), { signal: scope.signal });
      (await Promise.race([listening, ended])).destroy();
    } catch (error) {
      await this.#vmm.kill();
      throw error;
    } finally {
      // A wait that goes on would keep the caller's process alive as long as the VM.
      answered.abort();
      scope.release();
    }
  }

  async stop(options: StopOptions = {}): Promise<void> {
    await this.#failAsTold('stop', options);
    const identity = this.#vmm.identity();
    if (options.force !== true && identity !== undefined && isAlive(identity) && !(await this.#control.machine()).paused) {
      try {
        signalProcess(identity, 'SIGTERM');
        await this.#vmm.wait({ signal: options.signal, timeoutMs: quitMs });
      } catch (error) {
        if (options.signal?.aborted === true) throw error;
      }
    }
    await this.#vmm.kill(options);
  }

  async kill(options: CallOptions = {}): Promise<void> {
    await this.#vmm.kill(options);
  }

  async wait(options: CallOptions = {}): Promise<VmmExit> {
    return this.#vmm.wait(options);
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('pause', options);
    await this.#control.change((machine) => ({ ...machine, paused: true }));
    this.#signal('SIGSTOP');
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('resume', options);
    await this.#control.change((machine) => ({ ...machine, paused: false }));
    this.#signal('SIGCONT');
  }

  async runState(): Promise<'running' | 'paused'> {
    return (await this.#control.machine()).paused ? 'paused' : 'running';
  }

  async addDevice(device: Device): Promise<void> {
    await this.#failAsTold('addDevice', {});
    await this.#control.change((machine) => plugged(machine, device, this.#context.config));
  }

  async hotplugAddDevice(device: Device, options: CallOptions = {}): Promise<{ guestPath?: string }> {
    await this.#failAsTold('hotplugAddDevice', options);
    await this.#control.change((machine) => plugged(machine, device, this.#context.config));
    return { guestPath: `/mock/${deviceId(device)}` };
  }

  async hotplugRemoveDevice(device: Device, options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('hotplugRemoveDevice', options);
    await this.#control.change((machine) => unplugged(machine, device, this.#context.config));
  }

  async resizeMemory(
    memoryMiB: number,
    blockSizeMiB: number,
    _probe: boolean,
    options: CallOptions = {},
  ): Promise<{ memoryMiB: number; device?: MemoryDevice }> {
    await this.#failAsTold('resizeMemory', options);
    const { config } = this.#context;
    if (!(Number.isInteger(memoryMiB) && memoryMiB >= config.memoryMiB)) {
      throw new VmError('INVALID_ARGUMENT', `memoryMiB must be at least the ${config.memoryMiB} that the VM started with`);
    }
    if (!(Number.isInteger(blockSizeMiB) && blockSizeMiB > 0)) {
      throw new VmError('INVALID_ARGUMENT', `the memory block size must be above 0, not ${blockSizeMiB}`);
    }
    const before = (await this.#control.machine()).memoryMiB;
    const sizeMiB = Math.ceil((memoryMiB - before) / blockSizeMiB) * blockSizeMiB;
    if (sizeMiB > 0) {
      const machine = await this.#control.change((now) => plugged(now, { kind: 'memory', sizeMiB }, config));
      const device = machine.devices.findLast((one): one is MemoryDevice => one.kind === 'memory');
      return device === undefined ? { memoryMiB: machine.memoryMiB } : { memoryMiB: machine.memoryMiB, device };
    }
    const machine = await this.#control.change((now) => ({ ...now, memoryMiB: before + sizeMiB }));
    return { memoryMiB: machine.memoryMiB };
  }

  async resizeVcpus(vcpus: number, options: CallOptions = {}): Promise<{ before: number; after: number }> {
    await this.#failAsTold('resizeVcpus', options);
    const before = (await this.#control.machine()).vcpus;
    const { vcpus: after } = await this.#control.change((machine) => withVcpus(machine, vcpus, this.#context.config));
    return { before, after };
  }

  async check(options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('check', options);
    if (!this.#vmm.alive()) throw new VmError('VMM_GONE', 'the mock does not run any more', await this.lastWords());
    await this.#control.machine();
  }

  /** The agent has one thread, which stands for every vCPU. */
  async threadIds(options: CallOptions = {}): Promise<Map<number, number>> {
    await this.#failAsTold('threadIds', options);
    const { vcpus } = await this.#control.machine();
    const pid = this.#vmm.identity()?.pid;
    return new Map(pid === undefined ? [] : Array.from({ length: vcpus }, (_, vcpu) => [vcpu, pid]));
  }

  async pids(): Promise<number[]> {
    const identity = this.#vmm.identity();
    return identity !== undefined && isAlive(identity) ? [identity.pid] : [];
  }

  async console(): Promise<ConsoleLocation> {
    return { protocol: 'file', path: vmFiles.vmmLog(this.#context.stateFolder) };
  }

  async disconnect(): Promise<void> {
    // The mock is controlled by its files and by signals: there is nothing to let go of.
  }

  async detach(): Promise<void> {
    await this.#vmm.detach();
  }

  async cleanup(): Promise<void> {
    await this.#vmm.cleanup();
  }

  async saveState(): Promise<MockState> {
    return { schema: 1, binary: this.#binary, process: this.#vmm.identity() };
  }

  async loadState(value: unknown): Promise<void> {
    const state = parseState(value);
    this.#binary = state.binary;
    if (state.process !== undefined) this.#vmm.adopt(state.process);
  }

  async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (useVsock) return { kind: 'vsock', contextId: 3, port: 1024 };
    const hostPath = vmmFiles.agentSocket(this.#context.runtimeFolder, 0);
    return { kind: 'unix', id: 'charch0', deviceId: 'channel0', name: 'agent.channel.0', hostPath };
  }

  process(): ProcessIdentity | undefined {
    return this.#vmm.identity();
  }

  channels(): readonly GuestChannel[] {
    return Array.from({ length: agentChannels }, (_, channel) =>
      unixChannel(`agent.channel.${channel}`, vmmFiles.agentSocket(this.#context.runtimeFolder, channel), {
        showsHangup: true,
        survivesRestore: true,
      }),
    );
  }

  async lastWords(): Promise<{ log: string; console: string }> {
    const log = await tail(vmFiles.vmmLog(this.#context.stateFolder));
    return { log, console: log };
  }

  #signal(signal: NodeJS.Signals): void {
    const identity = this.#vmm.identity();
    if (identity !== undefined) signalProcess(identity, signal);
  }

  async #failAsTold(operation: string, options: CallOptions): Promise<void> {
    await failAsTold(operation, this.#context.config.hypervisorParams, options, () => this.#vmm.kill());
  }
}
