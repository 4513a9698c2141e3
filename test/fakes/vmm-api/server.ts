import http from 'node:http';
import type { ApiDescription } from './description.ts';

/** What a fake VMM answers. */
export interface Answer {
  status: number;
  body?: unknown;
}

/** How a request goes wrong: `METHOD TARGET:WHAT`, the first request of that kind. */
export const faults = ['die', 'refuse', 'busy', 'silence', 'half', 'unknown-field', 'not-json'] as const;
export type Fault = (typeof faults)[number];

export interface ApiOptions {
  socketPath: string;
  description: ApiDescription | undefined;
  /** requests, as `METHOD TARGET`, that are described elsewhere */
  undescribed?: RegExp | undefined;
  /** such as `PUT /vsock:die` */
  fault: string | undefined;
  /** in the form in which this VMM refuses */
  refusal(words: string): Answer;
  handle(method: string, target: string, body: unknown): Answer | Promise<Answer>;
}

/** Serves a VMM's API on a unix socket. A request that the vendor's description doesn't allow is refused, whatever the fake could make of it. */
export function serveApi({ socketPath, description, undescribed, fault, refusal, handle }: ApiOptions): http.Server {
  const [faulty, what] = split(fault);
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8');
      const body: unknown = text === '' ? undefined : JSON.parse(text);
      const { method = '', url = '' } = request;
      const broken = `${method} ${url}` === faulty ? what : undefined;
      if (broken !== undefined && goesWrong(broken, response)) return;
      const judged = undescribed?.test(`${method} ${url}`) === true ? undefined : description;
      const problems = judged?.problems(method, url, body) ?? [];
      const answered =
        problems.length > 0 ? refusal(`against the description: ${problems.join('; ')}`) : handle(method, url, body);
      void Promise.resolve(answered)
        .catch((error: unknown) => refusal(error instanceof Error ? error.message : String(error)))
        .then((answer) => send(response, broken === 'refuse' ? refusal('told to refuse') : answer, broken));
    });
  });
  server.listen(socketPath);
  return server;
}

function send(response: http.ServerResponse, { status, body }: Answer, fault: Fault | undefined): void {
  const extended =
    fault === 'unknown-field' ? { ...(body as object | undefined), from_the_future: { deep: [1] } } : body;
  response.statusCode = extended !== undefined && status === 204 ? 200 : status;
  if (extended === undefined) response.end();
  else response.setHeader('Content-Type', 'application/json').end(JSON.stringify(extended));
}

/** @returns whether that was all of the answer */
function goesWrong(fault: Fault, response: http.ServerResponse): boolean {
  if (fault === 'die') {
    process.stderr.write('told to die\n');
    process.exit(1);
  }
  switch (fault) {
    case 'busy':
      response.writeHead(429).end();
      return true;
    case 'silence':
      return true;
    case 'half':
      response.writeHead(200, { 'Content-Length': '100' });
      response.write('{"half":');
      setImmediate(() => response.destroy());
      return true;
    case 'not-json':
      response.writeHead(200).end('{"not": json');
      return true;
    default:
      return false;
  }
}

function split(fault: string | undefined): [request: string | undefined, what: Fault | undefined] {
  if (fault === undefined || fault === '') return [undefined, undefined];
  const at = fault.lastIndexOf(':');
  const what = faults.find((known) => known === fault.slice(at + 1));
  if (what === undefined) throw new Error(`${fault} is no fault`);
  return [fault.slice(0, at), what];
}
