import { readFile } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import { panicIn } from '../console-signs.ts';
import type { Driver, StopOptions, VmContext, VmmExit } from '../hypervisor.ts';
import { ProgramDriver } from '../program-driver.ts';
import { QemuControl } from './control.ts';
import { agentPorts } from './devices.ts';
import { startFailure } from './errors.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';
import { parseState } from './state.ts';
import type { LoggedEvent } from './wire.ts';

/** Milliseconds that QEMU gets to end after `quit` before it is killed. */
const quitMs = 5_000;

/** Drives one QEMU: order and waiting only. What it is told is in plan.ts, how it is asked in control.ts. */
export class QemuDriver extends ProgramDriver implements Driver {
  readonly #control: QemuControl;

  constructor(context: VmContext) {
    // A client that dies and is followed at once by another leaves the guest's port no sign of it.
    const channels = { count: agentPorts, showsHangup: false };
    super(context, { plan, probe, parseState, startFailure, channels });
    this.#control = new QemuControl(context.stateFolder, context.runtimeFolder);
  }

  protected answers(call: CallOptions): Promise<void> {
    return this.#control.ready(call);
  }

  async stop(options: StopOptions = {}): Promise<void> {
    if (options.force !== true && this.vmm.alive()) {
      try {
        await this.#control.quit({ signal: options.signal, timeoutMs: quitMs });
        await this.vmm.wait({ signal: options.signal, timeoutMs: quitMs });
      } catch (error) {
        // A QEMU that does not answer its monitor is ended all the same; a caller that gave up is not overruled.
        if (options.signal?.aborted === true) throw error;
      }
    }
    await this.vmm.kill(options);
  }

  override async wait(options: CallOptions = {}): Promise<VmmExit> {
    const exit = await super.wait(options);
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
    if (!this.vmm.alive()) throw new VmError('VMM_GONE', 'QEMU does not run any more', await this.lastWords());
    const status = await this.#control.status(options);
    const words = await this.lastWords();
    if (status === 'internal-error' || status === 'io-error')
      throw new VmError('VMM_FAILED', `QEMU reports ${status}`, words);
    const panic = status === 'guest-panicked' ? 'the guest has panicked' : panicIn(words.console);
    if (panic !== undefined) throw new VmError('GUEST_PANICKED', panic, words);
  }

  async threadIds(options: CallOptions = {}): Promise<Map<number, number>> {
    return this.#control.threadIds(options);
  }

  /** Why QEMU ended, as its event log tells. */
  async #endReason(): Promise<string | undefined> {
    const text = await readFile(vmmFiles.eventsOut(this.context.runtimeFolder), 'utf8').catch(() => '');
    const last = text.split('\n').findLast((line) => line.includes('"SHUTDOWN"'));
    return last === undefined ? undefined : parseEvent(last)?.data?.reason;
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
