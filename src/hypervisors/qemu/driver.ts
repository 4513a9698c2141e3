import { readFile } from 'node:fs/promises';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { isAlive, type ProcessIdentity } from '../../state/process-identity.ts';
import { vmFiles, vmmFiles } from '../../state/paths.ts';
import { tail } from '../../transports/log-tail.ts';
import type { ConsoleLocation, Driver, GuestChannel, GuestSocket, StopOptions, VmContext, VmmExit } from '../hypervisor.ts';
import { VmmProcess } from '../vmm-process.ts';
import { panicIn } from '../console-signs.ts';
import { unixChannel } from '../unix-channel.ts';
import { QemuControl } from './control.ts';
import { agentPorts } from './devices.ts';
import { startFailure } from './errors.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';
import { parseState, type QemuState } from './state.ts';
import type { LoggedEvent } from './wire.ts';

/** Milliseconds that QEMU gets to end after `quit` before it is killed. */
const quitMs = 5_000;

/** Drives one QEMU: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class QemuDriver implements Driver {
  readonly #context: VmContext;
  readonly #control: QemuControl;
  readonly #vmm: VmmProcess;
  #binary = '';

  constructor(context: VmContext) {
    this.#context = context;
    this.#control = new QemuControl(context.stateFolder, context.runtimeFolder);
    this.#vmm = new VmmProcess(context);
  }

  async create(): Promise<void> {
    this.#binary = await this.#vmm.findBinary(probe);
    await this.#vmm.writeFiles(plan(this.#context, this.#binary));
  }

  async start(options: CallOptions = {}): Promise<void> {
    const scope = callScope('start of QEMU', options);
    const answered = new AbortController();
    try {
      await this.#vmm.launch(plan(this.#context, this.#binary), { signal: scope.signal });
      const ended = this.#vmm.wait({ signal: answered.signal }).then(async (exit) => {
        throw startFailure(exit, (await this.lastWords()).log);
      });
      const ready = this.#control.ready({ signal: scope.signal }).catch((error: unknown) => {
        // A monitor that breaks off means that QEMU is ending: its exit says why.
        if (VmError.from(error).code === 'VMM_GONE') return ended;
        throw error;
      });
      await Promise.race([ready, ended]);
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
    if (options.force !== true && this.#vmm.alive()) {
      try {
        await this.#control.quit({ signal: options.signal, timeoutMs: quitMs });
        await this.#vmm.wait({ signal: options.signal, timeoutMs: quitMs });
      } catch (error) {
        // A QEMU that does not answer its monitor is ended all the same; a caller that gave up is not overruled.
        if (options.signal?.aborted === true) throw error;
      }
    }
    await this.#vmm.kill(options);
  }

  async kill(options: CallOptions = {}): Promise<void> {
    await this.#vmm.kill(options);
  }

  async wait(options: CallOptions = {}): Promise<VmmExit> {
    const exit = await this.#vmm.wait(options);
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
    return status === 'paused' ? 'paused' : 'running';
  }

  async check(options: CallOptions = {}): Promise<void> {
    if (!this.#vmm.alive()) throw new VmError('VMM_GONE', 'QEMU does not run any more', await this.lastWords());
    const status = await this.#control.status(options);
    if (status === 'guest-panicked') throw new VmError('GUEST_PANICKED', 'the guest has panicked', await this.lastWords());
    if (status === 'internal-error' || status === 'io-error') {
      throw new VmError('VMM_FAILED', `QEMU reports ${status}`, await this.lastWords());
    }
    const panic = panicIn((await this.lastWords()).console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, await this.lastWords());
  }

  async threadIds(options: CallOptions = {}): Promise<Map<number, number>> {
    return this.#control.threadIds(options);
  }

  async pids(): Promise<number[]> {
    const identity = this.#vmm.identity();
    return identity !== undefined && isAlive(identity) ? [identity.pid] : [];
  }

  async console(): Promise<ConsoleLocation> {
    return { protocol: 'file', path: vmmFiles.console(this.#context.runtimeFolder) };
  }

  async disconnect(): Promise<void> {
    // Monitor sessions end with the command that opened them: there is nothing to let go of.
  }

  async detach(): Promise<void> {
    await this.#vmm.detach();
  }

  async cleanup(): Promise<void> {
    await this.#vmm.cleanup();
  }

  async saveState(): Promise<QemuState> {
    return { schema: 1, binary: this.#binary, process: this.#vmm.identity() };
  }

  async loadState(value: unknown): Promise<void> {
    const state = parseState(value);
    this.#binary = state.binary;
    if (state.process !== undefined) this.#vmm.adopt(state.process);
  }

  async generateSocket(useVsock: boolean): Promise<GuestSocket> {
    if (useVsock) throw new VmError('UNSUPPORTED', 'vsock is not offered by this version of the QEMU driver');
    const hostPath = vmmFiles.agentSocket(this.#context.runtimeFolder, 0);
    return { kind: 'unix', id: 'charch0', deviceId: 'channel0', name: 'agent.channel.0', hostPath };
  }

  process(): ProcessIdentity | undefined {
    return this.#vmm.identity();
  }

  channels(): readonly GuestChannel[] {
    return Array.from({ length: agentPorts }, (_, port) =>
      unixChannel(`agent.channel.${port}`, vmmFiles.agentSocket(this.#context.runtimeFolder, port), {
        showsHangup: true,
        survivesRestore: true,
      }),
    );
  }

  async lastWords(): Promise<{ log: string; console: string }> {
    const { stateFolder, runtimeFolder } = this.#context;
    return { log: await tail(vmFiles.vmmLog(stateFolder)), console: await tail(vmmFiles.console(runtimeFolder)) };
  }

  /** Why QEMU ended, as its event log tells. */
  async #endReason(): Promise<string | undefined> {
    const text = await readFile(vmmFiles.eventsOut(this.#context.runtimeFolder), 'utf8').catch(() => '');
    for (const line of text.split('\n').reverse()) {
      if (!line.includes('"SHUTDOWN"')) continue;
      return parseEvent(line)?.data?.reason;
    }
    return undefined;
  }
}

/** A line of the event log; its last one may be cut short when QEMU was killed. */
function parseEvent(line: string): LoggedEvent | undefined {
  try {
    return JSON.parse(line) as LoggedEvent;
  } catch {
    return undefined;
  }
}
