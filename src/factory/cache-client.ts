import type * as Grpc from '@grpc/grpc-js';
import type { CallOptions } from '../config/call-options.ts';
import { type ErrorCode, errorCodes, VmError } from '../errors.ts';
import { requireEndpoint } from './cache-server.ts';
import { type GrpcStatus, type GrpcVm, type GrpcVmConfig, loadService } from './cache-service.ts';

/** Milliseconds for an answer, when the caller gives no limit: a VM may have to be booted first. */
const answerMs = 180_000;

type Method = 'Config' | 'GetBaseVM' | 'Status' | 'Quit';

/** What a cache server can be asked. Each call connects anew. */
export class CacheClient {
  readonly #endpoint: string;

  /** @throws {VmError} INVALID_ARGUMENT */
  constructor(endpoint: string) {
    requireEndpoint(endpoint);
    this.#endpoint = endpoint;
  }

  config(call?: CallOptions): Promise<GrpcVmConfig> {
    return this.#ask('Config', call);
  }

  /** @throws {VmError} NOT_FOUND when no server listens, what the server fails with, TIMEOUT, ABORTED */
  getBaseVm(call?: CallOptions): Promise<GrpcVm> {
    return this.#ask('GetBaseVM', call);
  }

  status(call?: CallOptions): Promise<GrpcStatus> {
    return this.#ask('Status', call);
  }

  async quit(call?: CallOptions): Promise<void> {
    await this.#ask('Quit', call);
  }

  async #ask<T>(method: Method, { signal, timeoutMs = answerMs }: CallOptions = {}): Promise<T> {
    if (signal?.aborted === true) throw new VmError('ABORTED', `${method} was aborted`, { cause: signal.reason });
    const { grpc, Client } = await loadService();
    const client = new Client(`unix:${this.#endpoint}`, grpc.credentials.createInsecure());
    try {
      return await new Promise<T>((resolve, reject) => {
        const ask = client[method] as unknown as (
          request: object,
          options: { deadline: number },
          answer: (error: { code: Grpc.status; details: string } | null, value: T) => void,
        ) => { cancel(): void };
        const asked = ask.call(client, {}, { deadline: Date.now() + timeoutMs }, (error, value) => {
          signal?.removeEventListener('abort', abort);
          if (error === null) resolve(value);
          else reject(this.#explain(error, grpc.status, { method, timeoutMs, signal }));
        });
        const abort = (): void => asked.cancel();
        signal?.addEventListener('abort', abort, { once: true });
      });
    } finally {
      client.close();
    }
  }

  #explain(
    { code, details }: { code: Grpc.status; details: string },
    status: typeof Grpc.status,
    { method, timeoutMs, signal }: { method: Method; timeoutMs: number; signal: AbortSignal | undefined },
  ): VmError {
    const facts = { path: this.#endpoint, operation: method };
    if (signal?.aborted === true) {
      const { reason } = signal;
      return reason instanceof VmError ? reason : new VmError('ABORTED', `${method} was aborted`, { cause: reason });
    }
    if (code === status.DEADLINE_EXCEEDED)
      return new VmError('TIMEOUT', `${method} took longer than ${timeoutMs} ms`, facts);
    if (code === status.UNAVAILABLE)
      return new VmError('NOT_FOUND', `no cache server answers on ${this.#endpoint}`, {
        ...facts,
        advice: 'Start one: `polyvisor factory init --cache 2`.',
      });
    return told(details, facts);
  }
}

/** What a server has failed with. */
function told(details: string, facts: { path: string; operation: string }): VmError {
  try {
    const { code, message, facts: more } = JSON.parse(details) as { code: ErrorCode; message: string; facts?: object };
    if (Object.hasOwn(errorCodes, code) && typeof message === 'string') return new VmError(code, message, { ...more });
  } catch {
    // It is not one of ours, or has failed below what we wrote.
  }
  return new VmError('VMM_FAILED', `the cache server failed: ${details}`, facts);
}
