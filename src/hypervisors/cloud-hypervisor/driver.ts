import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import { panicIn } from '../console-signs.ts';
import { agentPort, HybridVsock } from '../hybrid-vsock.ts';
import type { Driver, GuestChannel, GuestSocket, StopOptions, VmContext } from '../hypervisor.ts';
import { ProgramDriver } from '../program-driver.ts';
import { vcpuThreads } from '../vcpu-threads.ts';
import { CloudHypervisorControl } from './control.ts';
import { adviceFor, startFailure } from './errors.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';
import { parseState } from './state.ts';

/** Milliseconds that Cloud Hypervisor gets to end after `vmm.shutdown` before it is killed. */
const shutdownMs = 5_000;

/** Drives one Cloud Hypervisor: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class CloudHypervisorDriver extends ProgramDriver implements Driver {
  readonly #control: CloudHypervisorControl;
  readonly #vsock: HybridVsock;

  constructor(context: VmContext) {
    super(context, { plan, probe, parseState, startFailure, channels: { count: 0, showsHangup: true } });
    this.#control = new CloudHypervisorControl(context.runtimeFolder);
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

  async stop(options: StopOptions = {}): Promise<void> {
    if (options.force !== true && this.vmm.alive()) {
      try {
        await this.#control.shutdown({ signal: options.signal, timeoutMs: shutdownMs });
        await this.vmm.wait({ signal: options.signal, timeoutMs: shutdownMs });
      } catch (error) {
        // One that does not answer is ended all the same; a caller that gave up is not overruled.
        if (options.signal?.aborted === true) throw error;
      }
    }
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
    if (!this.vmm.alive())
      throw new VmError('VMM_GONE', 'Cloud Hypervisor does not run any more', await this.lastWords());
    await this.#control.info(options);
    const words = await this.lastWords();
    const panic = panicIn(words.console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, words);
  }

  /** Cloud Hypervisor names its vCPU threads `vcpu0`, `vcpu1`, ... */
  async threadIds(): Promise<Map<number, number>> {
    const pid = this.vmm.identity()?.pid;
    if (pid === undefined) throw new VmError('NOT_RUNNING', 'Cloud Hypervisor was not started');
    return vcpuThreads(pid, /^vcpu(\d+)$/);
  }

  override channels(): readonly GuestChannel[] {
    return this.#vsock.channels();
  }

  override async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (!useVsock)
      throw new VmError('UNSUPPORTED', 'Cloud Hypervisor has no serial ports for an agent: its channel is a vsock', {
        operation: 'generateSocket',
      });
    return { kind: 'hybrid-vsock', udsPath: vmmFiles.vsockSocket(this.context.runtimeFolder), port: agentPort };
  }
}
