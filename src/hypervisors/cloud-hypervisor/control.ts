import type { CallOptions } from '../../config/call-options.ts';
import { vmmFiles } from '../../state/paths.ts';
import { restCall, restCalls, type RestRequest } from '../../transports/rest/client.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { PlannedRequest } from '../launch-plan.ts';
import type { DevicePart } from './devices.ts';
import { advised } from '../advised.ts';
import { adviceFor } from './errors.ts';
import type { PciDeviceInfo, VmCounters, VmInfo, VmmPing } from './wire.ts';

/** Milliseconds for gigabytes of memory to be taken from the host, to go to a disk, or to come from it. */
const memoryMs = 600_000;

/** Typed verbs over Cloud Hypervisor's API. Each is a connection of its own: any process may control this VM. */
export class CloudHypervisorControl {
  readonly #socket: string;

  constructor(runtimeFolder: string) {
    this.#socket = vmmFiles.apiSocket(runtimeFolder);
  }

  /** Resolves once the API can be asked. */
  async ready(options: CallOptions = {}): Promise<void> {
    const stream = await connectUnix(this.#socket, options);
    stream.destroy();
  }

  async ping(options: CallOptions = {}): Promise<VmmPing> {
    return (await this.#call({ method: 'GET', target: '/api/v1/vmm.ping' }, options)) as VmmPing;
  }

  /** Sends what a plan says, one after the other. */
  async send(requests: readonly PlannedRequest[], options: CallOptions = {}): Promise<void> {
    const calls = requests.map((request) => ({ ...(request as RestRequest), timeoutMs: memoryMs }));
    await advised(restCalls(this.#socket, calls, options), adviceFor);
  }

  async info(options: CallOptions = {}): Promise<VmInfo> {
    return (await this.#call({ method: 'GET', target: '/api/v1/vm.info' }, options)) as VmInfo;
  }

  async counters(options: CallOptions = {}): Promise<VmCounters> {
    return (await this.#call({ method: 'GET', target: '/api/v1/vm.counters' }, options)) as VmCounters;
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#put('vm.pause', undefined, options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#put('vm.resume', undefined, options);
  }

  /** Presses the power button: a guest that listens to it goes down. */
  async powerButton(options: CallOptions = {}): Promise<void> {
    await this.#put('vm.power-button', undefined, options);
  }

  /** Ends the VMM; it answers before it goes. */
  async shutdown(options: CallOptions = {}): Promise<void> {
    await this.#put('vmm.shutdown', undefined, options);
  }

  async resize(to: { desired_vcpus: number } | { desired_ram: number }, options: CallOptions = {}): Promise<void> {
    await this.#put('vm.resize', to, options);
  }

  /** Adds a device to a VM that was booted. */
  async addDevice({ request, body }: DevicePart, options: CallOptions = {}): Promise<PciDeviceInfo> {
    return (await this.#put(request, body, options)) as PciDeviceInfo;
  }

  /** Asks the guest to let go of a device; answered before it does. */
  async removeDevice(id: string, options: CallOptions = {}): Promise<void> {
    await this.#put('vm.remove-device', { id }, options);
  }

  /** Writes a paused VM into a folder that must be there. */
  async snapshot(folder: string, options: CallOptions = {}): Promise<void> {
    await this.#put('vm.snapshot', { destination_url: fileUrl(folder) }, { timeoutMs: memoryMs, ...options });
  }

  /** The VM is paused after it, unless it is to go on. */
  async restore(
    folder: string,
    { goesOn, onDemand }: { goesOn: boolean; onDemand: boolean },
    options: CallOptions = {},
  ): Promise<void> {
    const body = {
      source_url: fileUrl(folder),
      prefault: false,
      // Versions that can't do it would be told of a field that they don't know.
      ...(goesOn ? { resume: true } : {}),
      ...(onDemand ? { memory_restore_mode: 'OnDemand' } : {}),
    };
    await this.#put('vm.restore', body, { timeoutMs: memoryMs, ...options });
  }

  /** Writes the memory of a paused VM into a new file. */
  async coredump(file: string, options: CallOptions = {}): Promise<void> {
    await this.#put('vm.coredump', { destination_url: fileUrl(file) }, { timeoutMs: memoryMs, ...options });
  }

  #put(action: string, body: unknown, options: CallOptions): Promise<unknown> {
    return this.#call({ method: 'PUT', target: `/api/v1/${action}`, body }, options);
  }

  #call(request: RestRequest, options: CallOptions): Promise<unknown> {
    return advised(restCall(this.#socket, request, options), adviceFor);
  }
}

/** Cloud Hypervisor takes what follows `file://` as the path, without decoding it (`url_to_path` in its sources). */
function fileUrl(path: string): string {
  return `file://${path}`;
}
