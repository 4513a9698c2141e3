import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { restCall, restCalls, type RestRequest } from '../../transports/rest/client.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { PlannedRequest } from '../launch-plan.ts';
import { advised } from '../advised.ts';
import { adviceFor } from './errors.ts';
import { snapshotNames } from './plan.ts';
import type { BalloonStatistics, InstanceInfo, MemoryHotplugStatus } from './wire.ts';

/** Milliseconds for gigabytes to go to a disk, or to be mapped. */
const snapshotMs = 600_000;

/** Typed verbs over Firecracker's API. None keeps a connection: any process may control this VM. */
export class FirecrackerControl {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Resolves once the API answers. */
  async ready(options: CallOptions = {}): Promise<void> {
    const stream = await connectUnix(this.#socket, options);
    stream.destroy();
  }

  /** Sends what a plan says, one after the other. @throws {VmError} as `restCall` does, with advice */
  async send(requests: readonly PlannedRequest[], options: CallOptions = {}): Promise<void> {
    const slow = (target: string): boolean => target.startsWith('/snapshot/') || target === '/actions';
    const calls = requests.map((request) => ({
      ...(request as RestRequest),
      ...(slow(request.target) ? { timeoutMs: snapshotMs } : {}),
    }));
    await advised(restCalls(this.#socket, calls, options), adviceFor);
  }

  async info(options: CallOptions = {}): Promise<InstanceInfo> {
    return (await this.#call({ method: 'GET', target: '/' }, options)) as InstanceInfo;
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'PATCH', target: '/vm', body: { state: 'Paused' } }, options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'PATCH', target: '/vm', body: { state: 'Resumed' } }, options);
  }

  /** Writes the files of a snapshot into the VMM's folder. */
  async snapshot(type: 'Full' | 'Diff', options: CallOptions = {}): Promise<void> {
    const body = {
      snapshot_type: type,
      snapshot_path: snapshotNames.state,
      mem_file_path: snapshotNames.memory,
    };
    await this.send([{ method: 'PUT', target: '/snapshot/create', body }], options);
  }

  /**
   * Has a paused guest's vsock reset, as a snapshot does, without a snapshot: Firecracker first saves the devices' state, whereby the
   * guest's is reset, and then fails to open a memory file in a folder that there isn't.
   */
  async resetVsock(options: CallOptions = {}): Promise<void> {
    const body = { snapshot_path: snapshotNames.unused, mem_file_path: 'no-folder/memory' };
    try {
      await this.#call({ method: 'PUT', target: '/snapshot/create', body }, { timeoutMs: snapshotMs, ...options });
    } catch (error) {
      if (VmError.from(error).code !== 'VMM_FAILED') throw error;
    }
  }

  async memory(options: CallOptions = {}): Promise<MemoryHotplugStatus> {
    return (await this.#call({ method: 'GET', target: '/hotplug/memory' }, options)) as MemoryHotplugStatus;
  }

  /** Asks the guest to use so much of its hotpluggable memory, in MiB. */
  async requestMemory(sizeMiB: number, options: CallOptions = {}): Promise<void> {
    const body = { requested_size_mib: sizeMiB };
    await this.#call({ method: 'PATCH', target: '/hotplug/memory', body }, options);
  }

  async balloon(options: CallOptions = {}): Promise<BalloonStatistics> {
    const balloon = (await this.#call({ method: 'GET', target: '/balloon' }, options)) as { amount_mib: number };
    return { actual_mib: balloon.amount_mib };
  }

  /** Has the counters written into the metrics file. */
  async flushMetrics(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'PUT', target: '/actions', body: { action_type: 'FlushMetrics' } }, options);
  }

  #call(request: RestRequest, options: CallOptions): Promise<unknown> {
    return advised(restCall(this.#socket, request, options), adviceFor);
  }
}
