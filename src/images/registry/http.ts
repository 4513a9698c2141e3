import http from 'node:http';
import https from 'node:https';
import { VmError } from '../../errors.ts';
import { isLoopback } from './reference.ts';

/** How a server is asked. */
export interface GetOptions {
  headers: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
  /** milliseconds without a byte after which it is given up */
  idleMs: number;
}

/** What a server answers; its body must be read or destroyed. */
export interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  /** where it came from, after redirections */
  url: URL;
  body: http.IncomingMessage;
}

const redirections = [301, 302, 303, 307, 308];
const maxRedirections = 5;

/**
 * Asks for a URL, and where that leads on to. Another host is not told who asks.
 * @throws {VmError} IMAGE_PULL_FAILED; TIMEOUT when nothing comes; ABORTED
 */
export async function get(from: URL, options: GetOptions): Promise<Reply> {
  let url = from;
  let { headers } = options;
  for (let count = 0; count <= maxRedirections; count++) {
    const body = await ask(url, { ...options, headers });
    const { statusCode: status = 0, headers: answered } = body;
    if (!redirections.includes(status) || answered.location === undefined)
      return { status, headers: answered, url, body };
    body.destroy();
    const next = locate(answered.location, url);
    if (next.origin !== url.origin) headers = without(headers, 'authorization');
    url = next;
  }
  throw failed(from, `leads on more than ${maxRedirections} times`);
}

/** A body as a whole. @throws {VmError} IMAGE_PULL_FAILED when it is larger or breaks off; TIMEOUT, ABORTED */
export async function readBody({ body, url }: Reply, maxBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      size += piece.length;
      if (size > maxBytes) throw failed(url, `sends more than ${maxBytes} bytes`);
      pieces.push(piece);
    }
  } catch (cause) {
    throw networkError(url, cause);
  }
  return Buffer.concat(pieces);
}

/** The error of a server that does not do what it should. Its query may hold a secret. */
export function failed(url: URL, problem: string, cause?: unknown): VmError {
  return new VmError('IMAGE_PULL_FAILED', `${url.host} ${problem}`, cause === undefined ? {} : { cause });
}

/** The error of a connection. */
export function networkError(url: URL, cause: unknown): VmError {
  if (cause instanceof VmError) return cause;
  if (cause instanceof Error && cause.name === 'AbortError') return VmError.from(cause.cause ?? cause, 'ABORTED');
  const { code, message } = cause as NodeJS.ErrnoException;
  return failed(url, `can't be asked, or broke off: ${code ?? ''} ${message}`.trimEnd(), cause);
}

function ask(url: URL, { headers, signal, idleMs }: GetOptions): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { request: start } = url.protocol === 'http:' ? http : https;
    // A connection of its own: none is left when all is done.
    const request = start(url, { headers, agent: false, ...(signal === undefined ? {} : { signal }) });
    let answer: http.IncomingMessage | undefined;
    request.setTimeout(idleMs, () =>
      (answer ?? request).destroy(new VmError('TIMEOUT', `${url.host} said nothing for ${idleMs} ms`)),
    );
    request.on('error', (cause) => reject(networkError(url, cause)));
    request.on('response', (body) => resolve((answer = body)));
    request.end();
  });
}

function locate(location: string, from: URL): URL {
  let next: URL;
  try {
    next = new URL(location, from);
  } catch (cause) {
    throw failed(from, 'leads on to what is no address', cause);
  }
  if (next.protocol === 'https:' || (next.protocol === 'http:' && from.protocol === 'http:' && isLoopback(next)))
    return next;
  throw failed(from, `leads on to ${next.protocol}//${next.host}, which is not safe`);
}

function without(headers: Readonly<Record<string, string>>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([key]) => key !== name));
}
