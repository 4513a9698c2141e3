import type { CallOptions } from '../../config/call-options.ts';
import { vmmFiles } from '../../state/paths.ts';
import { type RestRequest, restCall } from '../../transports/rest/client.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { PlannedRequest } from '../launch-plan.ts';
import type { VmInfo } from './wire.ts';

/** Typed verbs over Cloud Hypervisor's API. Each is a connection of its own: any process may control this VM. */
export class CloudHypervisorControl {
  readonly #socket: string;

  constructor(runtimeFolder: string) {
    this.#socket = vmmFiles.apiSocket(runtimeFolder);
  }

  /** Resolves once the API answers. */
  async ready(options: CallOptions = {}): Promise<void> {
    const stream = await connectUnix(this.#socket, options);
    stream.destroy();
    await this.#call({ method: 'GET', target: '/api/v1/vmm.ping' }, options);
  }

  /** Sends what a plan says, one after the other. */
  async send(requests: readonly PlannedRequest[], options: CallOptions = {}): Promise<void> {
    for (const { method, target, body } of requests) {
      await this.#call({ method: method as 'PUT', target, body }, options);
    }
  }

  async info(options: CallOptions = {}): Promise<VmInfo> {
    return (await this.#call({ method: 'GET', target: '/api/v1/vm.info' }, options)) as VmInfo;
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'PUT', target: '/api/v1/vm.pause' }, options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'PUT', target: '/api/v1/vm.resume' }, options);
  }

  /** Ends the VMM; it answers before it goes. */
  async shutdown(options: CallOptions = {}): Promise<void> {
    await this.#call({ method: 'PUT', target: '/api/v1/vmm.shutdown' }, options);
  }

  #call(request: RestRequest, options: CallOptions): Promise<unknown> {
    return restCall(this.#socket, request, options);
  }
}
