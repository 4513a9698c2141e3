import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import { panicIn } from '../console-signs.ts';
import { agentPort, HybridVsock } from '../hybrid-vsock.ts';
import type { Driver, GuestChannel, GuestSocket, StopOptions, VmContext } from '../hypervisor.ts';
import { ProgramDriver } from '../program-driver.ts';
import { vcpuThreads } from '../vcpu-threads.ts';
import { FirecrackerControl } from './control.ts';
import { adviceFor, startFailure } from './errors.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';
import { parseState } from './state.ts';

/** Drives one Firecracker: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class FirecrackerDriver extends ProgramDriver implements Driver {
  readonly #control: FirecrackerControl;
  readonly #vsock: HybridVsock;

  constructor(context: VmContext) {
    super(context, { plan, probe, parseState, startFailure, channels: { count: 0, showsHangup: true } });
    this.#control = new FirecrackerControl(context.runtimeFolder);
    this.#vsock = new HybridVsock(vmmFiles.vsockSocket(context.runtimeFolder));
  }

  override async start(options?: CallOptions): Promise<void> {
    await this.#vsock.expectGuest();
    try {
      await super.start(options);
    } catch (error) {
      await this.#vsock.close();
      throw error;
    }
  }

  override async disconnect(): Promise<void> {
    await this.#vsock.close();
  }

  override async cleanup(): Promise<void> {
    await this.#vsock.close();
    await super.cleanup();
  }

  protected async answers(call: CallOptions): Promise<void> {
    await this.#control.ready(call);
    try {
      await this.#control.send(plan(this.context, '').requests, call);
    } catch (error) {
      const found = VmError.from(error);
      if (found.code !== 'VMM_FAILED') throw error;
      const words = await this.lastWords();
      throw new VmError('START_FAILED', found.rawMessage, {
        ...words,
        advice: adviceFor(found.rawMessage),
        cause: error,
      });
    }
  }

  /** Firecracker has no request that ends it: a guest that was asked to power off ends it, all else is the signal's. */
  async stop(options: StopOptions = {}): Promise<void> {
    await this.vmm.kill(options);
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#control.pause(options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#control.resume(options);
  }

  async runState(options: CallOptions = {}): Promise<'running' | 'paused'> {
    return (await this.#control.info(options)).state === 'Paused' ? 'paused' : 'running';
  }

  async check(options: CallOptions = {}): Promise<void> {
    if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'Firecracker does not run any more', await this.lastWords());
    await this.#control.info(options);
    const words = await this.lastWords();
    const panic = panicIn(words.console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, words);
  }

  /** Firecracker names its vCPU threads `fc_vcpu 0`, older ones `fc_vcpu0`. */
  async threadIds(): Promise<Map<number, number>> {
    const pid = this.vmm.identity()?.pid;
    if (pid === undefined) throw new VmError('NOT_RUNNING', 'Firecracker was not started');
    return vcpuThreads(pid, /^fc_vcpu ?(\d+)$/);
  }

  override channels(): readonly GuestChannel[] {
    return this.#vsock.channels();
  }

  override async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (!useVsock)
      throw new VmError('UNSUPPORTED', 'Firecracker has no serial ports: its agent channel is a vsock', {
        operation: 'generateSocket',
      });
    return { kind: 'hybrid-vsock', udsPath: vmmFiles.vsockSocket(this.context.runtimeFolder), port: agentPort };
  }
}
