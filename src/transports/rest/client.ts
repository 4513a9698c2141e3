import http from 'node:http';
import { callScope, type CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { printable } from '../log-tail.ts';

/** Bytes of an answer that are read at most: a VMM is not trusted to stop. */
const maxAnswerBytes = 4 * 2 ** 20;

/** Milliseconds that a VMM gets to answer, when the caller gives no limit. */
const answerMs = 10_000;

/** Characters of a VMM's own words in an error. */
const maxFaultLength = 1_000;

/** One request of a VMM's API: JSON over HTTP/1.1 on a unix socket, as Firecracker and Cloud Hypervisor serve it. */
export interface RestRequest {
  method: 'GET' | 'PUT' | 'PATCH' | 'DELETE';
  target: string;
  /** sent as JSON; no body when undefined */
  body?: unknown;
}

interface Answer {
  status: number;
  text: string;
}

/**
 * Sends requests one after the other, on one connection if the VMM keeps it; the first that fails is the last.
 * @throws {VmError} as {@link restCall}
 */
export async function restCalls(
  socketPath: string,
  requests: readonly (RestRequest & CallOptions)[],
  options: CallOptions = {},
): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (const request of requests) {
      const { signal = request.signal, timeoutMs = request.timeoutMs } = options;
      await call(socketPath, request, { signal, timeoutMs }, agent);
    }
  } finally {
    agent.destroy();
  }
}

/**
 * Sends one request on a connection of its own; resolves with the parsed answer, undefined for an empty one.
 * @throws {VmError} VMM_FAILED with the VMM's own words when it refuses; BUSY when it has too many requests (429); VMM_GONE when nobody
 *   listens or the connection breaks off; TIMEOUT (after 10 s by default), ABORTED
 */
export async function restCall(socketPath: string, request: RestRequest, options: CallOptions = {}): Promise<unknown> {
  return call(socketPath, request, options, undefined);
}

/** @param agent of the connection to use; one of its own when undefined */
async function call(
  socketPath: string,
  request: RestRequest,
  options: CallOptions,
  agent: http.Agent | undefined,
): Promise<unknown> {
  const name = `${request.method} ${request.target}`;
  const scope = callScope(name, { signal: options.signal, timeoutMs: options.timeoutMs ?? answerMs });
  try {
    const { status, text } = await send(socketPath, request, scope.signal, agent);
    if (status === 429) throw new VmError('BUSY', `${name}: the VMM has too many requests`, { operation: name });
    const body = parse(name, status, text);
    if (status >= 200 && status < 300) return body;
    throw new VmError('VMM_FAILED', `${name} was refused (${status})${faultOf(body, text)}`, { operation: name });
  } catch (error) {
    scope.throwIfEnded();
    throw error instanceof VmError ? error : broken(name, error as NodeJS.ErrnoException);
  } finally {
    scope.release();
  }
}

function send(
  socketPath: string,
  { method, target, body }: RestRequest,
  signal: AbortSignal,
  agent: http.Agent | undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const headers = {
      Accept: 'application/json',
      ...(agent === undefined ? { Connection: 'close' } : {}),
      ...(payload === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': payload.length }),
    };
    const to = { socketPath, method, path: target, headers, agent: agent ?? false, signal };
    const request = http.request(to, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxAnswerBytes)
          request.destroy(new VmError('VMM_FAILED', `${method} ${target}: the answer is too long`));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
      );
    });
    request.on('error', reject);
    request.end(payload);
  });
}

/** A refusal may be plain text; what is accepted must be JSON or nothing. */
function parse(name: string, status: number, text: string): unknown {
  if (text.trim() === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    if (status >= 300) return undefined;
    throw new VmError('VMM_FAILED', `${name}: the answer is not JSON`, { operation: name, cause: error });
  }
}

/** Firecracker answers `{"fault_message": "..."}`; Cloud Hypervisor a list of messages, the outermost first, or plain text. */
function faultOf(body: unknown, text: string): string {
  const fault = (body as { fault_message?: unknown } | undefined)?.fault_message;
  const words =
    typeof fault === 'string'
      ? fault
      : Array.isArray(body)
        ? body.filter((part) => typeof part === 'string').join(': ')
        : text;
  const shown = printable(words).trim().slice(0, maxFaultLength);
  return shown === '' ? '' : `: ${shown}`;
}

function broken(name: string, error: NodeJS.ErrnoException): VmError {
  return new VmError('VMM_GONE', `${name}: ${error.message}`, { operation: name, errno: error.code, cause: error });
}
