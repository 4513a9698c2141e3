import type { CallOptions } from '../../config/call-options.ts';
import { vmmFiles } from '../../state/paths.ts';
import { restCall } from '../../transports/rest/client.ts';
import { connectUnix } from '../../transports/unix-socket.ts';
import type { PlannedRequest } from '../launch-plan.ts';
import type { InstanceInfo } from './wire.ts';

/** Typed verbs over Firecracker's API. Each is a connection of its own: any process may control this VM. */
export class FirecrackerControl {
  readonly #socket: string;

  constructor(runtimeFolder: string) {
    this.#socket = vmmFiles.apiSocket(runtimeFolder);
  }

  /** Resolves once the API answers. */
  async ready(options: CallOptions = {}): Promise<void> {
    const stream = await connectUnix(this.#socket, options);
    stream.destroy();
  }

  /** Sends what a plan says, one after the other. */
  async send(requests: readonly PlannedRequest[], options: CallOptions = {}): Promise<void> {
    for (const { method, target, body } of requests) {
      await restCall(this.#socket, { method: method as 'PUT', target, body }, options);
    }
  }

  async info(options: CallOptions = {}): Promise<InstanceInfo> {
    return (await restCall(this.#socket, { method: 'GET', target: '/' }, options)) as InstanceInfo;
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await restCall(this.#socket, { method: 'PATCH', target: '/vm', body: { state: 'Paused' } }, options);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await restCall(this.#socket, { method: 'PATCH', target: '/vm', body: { state: 'Resumed' } }, options);
  }
}
