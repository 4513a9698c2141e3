import { callScope, type CallOptions } from '../../config/call-options.ts';
import { lock } from '../../state/lock.ts';
import { vmmFiles } from '../../state/paths.ts';
import { openQmp, type QmpClient } from '../../transports/qmp/client.ts';
import type { VmContext } from '../hypervisor.ts';
import type { CpuInfoFast, RunState, StatusInfo } from './wire.ts';

/** Milliseconds that QEMU gets to answer a monitor command. */
const answerMs = 10_000;

/**
 * Typed verbs over QMP. Each takes the monitor's lock and connects anew: a QMP socket serves one client at a time and lets
 * a second one wait unheard, and any process may control this VM.
 */
export class QemuControl {
  /** read anew each time: a VM that is renamed gets another state folder */
  readonly #folders: Pick<VmContext, 'stateFolder' | 'runtimeFolder'>;

  constructor(folders: Pick<VmContext, 'stateFolder' | 'runtimeFolder'>) {
    this.#folders = folders;
  }

  /** Resolves once the monitor answers: QEMU has read its whole command line by then. */
  async ready(options: CallOptions = {}): Promise<void> {
    await this.session((qmp) => qmp.negotiated, options);
  }

  async status(options: CallOptions = {}): Promise<RunState> {
    const info = await this.session((qmp, call) => qmp.execute<StatusInfo>('query-status', undefined, call), options);
    return info.status;
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.session((qmp, call) => qmp.execute('stop', undefined, call), options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.session((qmp, call) => qmp.execute('cont', undefined, call), options);
  }

  /** Ends QEMU; it answers before it goes. */
  async quit(options: CallOptions = {}): Promise<void> {
    await this.session((qmp, call) => qmp.execute('quit', undefined, call), options);
  }

  /** Thread id by vCPU number (query-cpus-fast: query-cpus left QEMU in 6.0). */
  async threadIds(options: CallOptions = {}): Promise<Map<number, number>> {
    const cpus = await this.session(
      (qmp, call) => qmp.execute<CpuInfoFast[]>('query-cpus-fast', undefined, call),
      options,
    );
    return new Map(cpus.map((cpu) => [cpu['cpu-index'], cpu['thread-id']]));
  }

  /**
   * Uses a session of its own, under the lock of the monitor.
   * @param options timeoutMs is for all that `use` does; 10 s by default
   */
  async session<T>(use: (qmp: QmpClient, call: CallOptions) => Promise<T>, options: CallOptions): Promise<T> {
    const scope = callScope('the QMP session', { signal: options.signal, timeoutMs: options.timeoutMs ?? answerMs });
    const call = { signal: scope.signal };
    try {
      const held = await lock(this.#folders.stateFolder, 'qmp', call);
      try {
        const qmp = await openQmp(vmmFiles.qmpSocket(this.#folders.runtimeFolder), call);
        try {
          return await use(qmp, call);
        } finally {
          await qmp.close();
        }
      } finally {
        await held.release();
      }
    } catch (error) {
      // A lock that is still waited for when our time ends calls itself BUSY: to our caller it is the time.
      scope.throwIfEnded();
      throw error;
    } finally {
      scope.release();
    }
  }
}
