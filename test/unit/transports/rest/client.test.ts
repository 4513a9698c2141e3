import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { restCall } from '../../../../src/transports/rest/client.ts';

let folder: string;
let socketPath: string;
let server: http.Server;
let answer: (request: http.IncomingMessage, body: string, response: http.ServerResponse) => void;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rest-'));
  socketPath = path.join(folder, 'api.sock');
  server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => answer(request, body, response));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});

const failure = (promise: Promise<unknown>): Promise<{ code?: string; message?: string }> =>
  promise.then(
    () => ({}),
    (error: unknown) => error as { code: string; message: string },
  );

describe('restCall', () => {
  it('sends JSON and resolves with what the VMM answers', async () => {
    answer = (request, body, response) =>
      response.end(JSON.stringify({ method: request.method, url: request.url, body }));
    expect(await restCall(socketPath, { method: 'PUT', target: '/vm', body: { a: 1 } })).toEqual({
      method: 'PUT',
      url: '/vm',
      body: '{"a":1}',
    });
  });

  it('takes an empty answer', async () => {
    answer = (_request, _body, response) => response.writeHead(204).end();
    expect(await restCall(socketPath, { method: 'PUT', target: '/vm' })).toBeUndefined();
  });

  it.each([
    [JSON.stringify({ fault_message: 'The drive is \u001b[31mbusy' }), 'The drive is busy'],
    [JSON.stringify(['outer', 'inner']), 'outer: inner'],
    ['plain words', 'plain words'],
  ])('puts the words of a refusal into the error: %s', async (text, words) => {
    answer = (_request, _body, response) => response.writeHead(400).end(text);
    const error = await failure(restCall(socketPath, { method: 'PUT', target: '/vm' }));
    expect(error.code).toBe('VMM_FAILED');
    expect(error.message).toContain(`PUT /vm was refused (400): ${words}`);
  });

  it('tells apart a VMM that is too busy', async () => {
    answer = (_request, _body, response) => response.writeHead(429).end();
    expect((await failure(restCall(socketPath, { method: 'GET', target: '/' }))).code).toBe('BUSY');
  });

  it('notices half an answer', async () => {
    answer = (_request, _body, response) => {
      response.writeHead(200, { 'Content-Length': 100 });
      response.write('{"a"', () => response.destroy());
    };
    expect((await failure(restCall(socketPath, { method: 'GET', target: '/' }))).code).toBe('VMM_GONE');
  });

  it('refuses an answer that is no JSON, and one without end', async () => {
    answer = (_request, _body, response) => response.end('<html>');
    expect((await failure(restCall(socketPath, { method: 'GET', target: '/' }))).code).toBe('VMM_FAILED');
    answer = (_request, _body, response) => response.end('x'.repeat(5 * 2 ** 20));
    expect((await failure(restCall(socketPath, { method: 'GET', target: '/' }))).message).toContain('too long');
  });

  it('gives up in time on a VMM that does not answer', async () => {
    answer = () => undefined;
    expect((await failure(restCall(socketPath, { method: 'GET', target: '/' }, { timeoutMs: 50 }))).code).toBe(
      'TIMEOUT',
    );
  });

  it('says that nobody is there', async () => {
    const error = await failure(restCall(path.join(folder, 'none.sock'), { method: 'GET', target: '/' }));
    expect(error.code).toBe('VMM_GONE');
  });
});
