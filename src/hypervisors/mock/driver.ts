import { writeFile } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import { isAlive, signalProcess } from '../../state/process-identity.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import { type Device, deviceKinds, type MemoryDevice } from '../device.ts';
import type {
  ConsoleLocation,
  CreateOptions,
  Driver,
  RestoreOptions,
  SaveOptions,
  StopOptions,
  VmContext,
} from '../hypervisor.ts';
import { ProgramDriver } from '../program-driver.ts';
import { onHost } from '../device-host.ts';
import { checkDevice } from '../device-rules.ts';
import { memoryChange } from '../memory-modules.ts';
import { requireSavable } from '../savable.ts';
import { MockControl, savedMachine } from './control.ts';
import { deviceId, plugged, unplugged, withVcpus, memoryModules } from './devices.ts';
import { failAsTold, startFailure } from './errors.ts';
import { agentChannels, plan } from './plan.ts';
import { probe } from './probe.ts';
import { parseState } from './state.ts';

/** Milliseconds that the agent gets to end its processes before it is killed. */
const quitMs = 5_000;

/** A VMM without a virtual machine: the same rules, files and agent, for tests of users' code. */
export class MockDriver extends ProgramDriver implements Driver {
  readonly #control: MockControl;

  constructor(context: VmContext) {
    super(context, { plan, probe, parseState, startFailure, channels: { count: agentChannels, showsHangup: true } });
    this.#control = new MockControl(context);
  }

  protected async answers(call: CallOptions): Promise<void> {
    const stream = await connectUnix(vmmFiles.agentSocket(this.context.runtimeFolder, 0), call);
    stream.destroy();
  }

  override async create(options: CreateOptions = {}): Promise<void> {
    await this.#failAsTold('create', options);
    await super.create(options);
  }

  override async start(options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('start', options);
    await super.start(options);
  }

  async stop(options: StopOptions = {}): Promise<void> {
    await this.#failAsTold('stop', options);
    const identity = this.vmm.identity();
    if (
      options.force !== true &&
      identity !== undefined &&
      isAlive(identity) &&
      !(await this.#control.machine()).paused
    ) {
      try {
        signalProcess(identity, 'SIGTERM');
        await this.vmm.wait({ signal: options.signal, timeoutMs: quitMs });
      } catch (error) {
        if (options.signal?.aborted === true) throw error;
      }
    }
    await this.vmm.kill(options);
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
    if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'the mock does not run any more');
    return (await this.#control.machine()).paused ? 'paused' : 'running';
  }

  async addDevice(device: Device): Promise<void> {
    await this.#failAsTold('addDevice', {});
    await this.#plug(device);
  }

  /** As any VMM's driver looks at it; of the host it needs what it is to show of it, and nothing else. */
  async #plug(device: Device): Promise<void> {
    checkDevice(device);
    const isFile = device.kind === 'block' || device.kind === 'fs';
    const real = isFile ? await onHost(device, this.context) : device;
    await this.#control.change((machine) => plugged(machine, real, this.context.config));
  }

  async hotplugAddDevice(device: Device, options: CallOptions = {}): Promise<{ guestPath?: string }> {
    await this.#failAsTold('hotplugAddDevice', options);
    await this.#plug(device);
    return { guestPath: `/mock/${deviceId(device)}` };
  }

  async hotplugRemoveDevice(device: Device, options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('hotplugRemoveDevice', options);
    await this.#control.change((machine) => unplugged(machine, device, this.context.config));
  }

  async resizeMemory(
    memoryMiB: number,
    blockSizeMiB: number,
    _probe: boolean,
    options: CallOptions = {},
  ): Promise<{ beforeMiB: number; memoryMiB: number; device?: MemoryDevice }> {
    await this.#failAsTold('resizeMemory', options);
    const { config, hostMemoryMiB } = this.context;
    const before = await this.#control.machine();
    const limits = {
      bootMiB: config.memoryMiB,
      slots: config.memorySlots,
      maxMiB: hostMemoryMiB,
      blockMiB: blockSizeMiB,
    };
    const { add, remove } = memoryChange(memoryModules(before), memoryMiB, limits);
    const device: MemoryDevice | undefined = add && { kind: 'memory', ...add };
    const after = await this.#control.change((machine) => {
      const grown = device === undefined ? machine : plugged(machine, device, config);
      return remove.reduce((left, module) => unplugged(left, { kind: 'memory', ...module }, config), grown);
    });
    const totals = { beforeMiB: before.memoryMiB, memoryMiB: after.memoryMiB };
    return device === undefined ? totals : { ...totals, device };
  }

  async resizeVcpus(vcpus: number, options: CallOptions = {}): Promise<{ before: number; after: number }> {
    await this.#failAsTold('resizeVcpus', options);
    const before = (await this.#control.machine()).vcpus;
    const { vcpus: after } = await this.#control.change((machine) => withVcpus(machine, vcpus, this.context.config));
    return { before, after };
  }

  /** The machine alone: what its guest, the host, is at goes on. */
  async save(folder: string, options: SaveOptions = {}): Promise<void> {
    await this.#failAsTold('save', options);
    requireSavable((await this.#control.machine()).devices, new Set(deviceKinds));
    const bytes = await this.#control.copyTo(folder);
    options.onProgress?.(bytes);
  }

  async restore(folder: string, options: RestoreOptions = {}): Promise<'paused'> {
    await this.#failAsTold('restore', options);
    const saved = await savedMachine(folder);
    await super.start(options);
    await this.#control.change(() => ({ ...saved, paused: true }));
    this.#signal('SIGSTOP');
    return 'paused';
  }

  /** What stands for memory: the machine as it is on disk. */
  async dumpMemory(file: string, options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('dumpMemory', options);
    const text = JSON.stringify(await this.#control.machine());
    await writeFile(file, `${text}\n`, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
      throw VmError.from(error, 'IO', { path: file });
    });
  }

  async check(options: CallOptions = {}): Promise<void> {
    await this.#failAsTold('check', options);
    if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'the mock does not run any more', await this.lastWords());
    await this.#control.machine();
  }

  /** The agent has one thread, which stands for every vCPU. */
  override async threadIds(options: CallOptions = {}): Promise<Map<number, number>> {
    await this.#failAsTold('threadIds', options);
    const { vcpus } = await this.#control.machine();
    const pid = this.vmm.identity()?.pid;
    return new Map(pid === undefined ? [] : Array.from({ length: vcpus }, (_, vcpu) => [vcpu, pid]));
  }

  override async console(): Promise<ConsoleLocation> {
    const { runtimeFolder, stateFolder } = this.context;
    return { protocol: 'unix', path: vmmFiles.consoleSocket(runtimeFolder), log: vmFiles.vmmLog(stateFolder) };
  }

  #signal(signal: NodeJS.Signals): void {
    const identity = this.vmm.identity();
    if (identity === undefined || !signalProcess(identity, signal))
      throw new VmError('VMM_GONE', 'the mock does not run any more');
  }

  async #failAsTold(operation: string, options: CallOptions): Promise<void> {
    await failAsTold(operation, this.context.config.hypervisorParams, options, () => this.vmm.kill());
  }
}
