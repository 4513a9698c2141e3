import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pullRoot, type PullOptions } from '../../../../src/images/registry/pull.ts';
import { parseReference, registryUrl } from '../../../../src/images/registry/reference.ts';
import type { RootImage } from '../../../../src/images/roots/root-image.ts';
import { listRoots } from '../../../../src/images/roots/root-store.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { archive } from '../../../fakes/tar.ts';
import { digestOf, layout, own, types } from '../roots/oci-fixture.ts';

let work: string;
let store: string;
const closers: (() => Promise<unknown>)[] = [];

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'pull-'));
  store = path.join(work, 'store');
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  rmSync(work, { recursive: true });
});

const files = layout({ layers: [archive({ name: 'file', body: 'pulled' })], config: { Cmd: ['/file'] } });
const index = JSON.parse(String(files.get('index.json'))) as { manifests: [{ digest: string }] };
const manifestDigest = index.manifests[0].digest;
const manifest = files.get(`blobs/sha256/${manifestDigest.slice(7)}`) ?? Buffer.alloc(0);
const layerDigest = (JSON.parse(String(manifest)) as { layers: [{ digest: string }] }).layers[0].digest;

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => boolean | void;

/** A registry that has `app:1`, and answers otherwise where `answer` says true. */
async function registry(answer: Answer = () => false): Promise<{ host: string; asked: string[] }> {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    const url = request.url ?? '';
    asked.push(url);
    if (answer(request, response) === true) return;
    const digest = /\/blobs\/(sha256:.*)$/.exec(url)?.[1];
    const blob = digest === undefined ? undefined : files.get(`blobs/sha256/${digest.slice(7)}`);
    if (url === '/v2/app/manifests/1' || url === `/v2/app/manifests/${manifestDigest}`)
      response.setHeader('content-type', types.manifest).end(manifest);
    else if (blob !== undefined) response.end(blob);
    else response.writeHead(404).end(JSON.stringify({ errors: [{ message: 'manifest\u001b unknown' }] }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

function pull(host: string, options: Partial<PullOptions> = {}): Promise<RootImage> {
  return pullRoot({ store, reference: `${host}/app:1`, credentials: { username: 'u', password: 'p' }, ...options });
}

async function expectNothing(): Promise<void> {
  expect(await listRoots(store)).toEqual([]);
  if (existsSync(store)) expect(readdirSync(store).filter((name) => name.startsWith('.'))).toEqual([]);
}

it('pulls an image once: the second time its manifest is looked at only', async () => {
  const { host, asked } = await registry();
  const image = await pull(host);
  expect(image.name).toBe(`${host}/app:1`);
  expect(image.manifest).toMatchObject({ source: manifestDigest, config: { cmd: ['/file'] } });
  expect(asked).toHaveLength(3);
  const again = await pull(host, { name: 'other' });
  expect([again.file, again.name, asked.length]).toEqual([image.file, 'other', 4]);
  const byDigest = await pullRoot({
    store,
    reference: `${host}/app@${manifestDigest}`,
    name: 'third',
    credentials: undefined,
  });
  expect(byDigest.file).toBe(image.file);
  expect(await listRoots(store)).toHaveLength(3);
});

it('takes of an index what is for this host', async () => {
  const inner = { mediaType: types.manifest, digest: manifestDigest, size: manifest.length };
  const other = { ...inner, digest: digestOf(Buffer.from('x')), platform: { os: 'linux', architecture: 's390x' } };
  const many = { schemaVersion: 2, manifests: [other, { ...inner, platform: { os: 'linux', architecture: own } }] };
  const { host } = await registry(({ url }, response) => {
    if (url !== '/v2/app/manifests/1') return false;
    response.setHeader('content-type', types.index).end(JSON.stringify(many));
    return true;
  });
  expect((await pull(host)).manifest.source).toBe(manifestDigest);
});

it('gets another token when the one that it has is worth nothing any more', async () => {
  let tokens = 0;
  const { host } = await registry((request, response) => {
    const { url = '', headers } = request;
    if (url.startsWith('/token')) {
      response.end(JSON.stringify({ token: `token-${++tokens}` }));
      return true;
    }
    // The first one is good for the manifest alone.
    if (headers.authorization === (url.includes('/blobs/') ? 'Bearer token-2' : 'Bearer token-1')) return false;
    response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${headers.host}/token"` }).end();
    return true;
  });
  await pull(host);
  expect(tokens).toBe(2);
});

it("gets a bearer's token, with what it knows of who asks, and tells no other host of it", async () => {
  const seen: (string | undefined)[] = [];
  const elsewhere = await registry(({ headers }) => void seen.push(headers.authorization));
  const { host } = await registry((request, response) => {
    const { url = '', headers } = request;
    if (url.startsWith('/token')) {
      expect(url).toBe('/token?service=here&scope=repository%3Aapp%3Apull');
      expect(headers.authorization).toBe(`Basic ${Buffer.from('u:p').toString('base64')}`);
      response.end(JSON.stringify({ token: 'secret-token' }));
      return true;
    }
    if (headers.authorization !== 'Bearer secret-token') {
      const challenge = `Bearer realm="http://${request.headers.host}/token",service="here",scope="repository:other:push"`;
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return true;
    }
    if (!url.includes('/blobs/')) return false;
    response.writeHead(307, { location: `http://${elsewhere.host}${url}` }).end();
    return true;
  });
  await pull(host);
  expect(seen).toEqual([undefined, undefined]);
});

it("reads what docker login has written down; without that a registry's question is an error", async () => {
  const { host } = await registry(({ headers }, response) => {
    if (headers.authorization === `Basic ${Buffer.from('me:secret').toString('base64')}`) return false;
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
    return true;
  });
  const before = process.env['DOCKER_CONFIG'];
  process.env['DOCKER_CONFIG'] = work;
  try {
    const error = await failure(pull(host, { credentials: undefined }));
    expect([error.code, error.advice]).toEqual(['IMAGE_PULL_FAILED', expect.stringContaining('docker login')]);
    expect(await codeOf(pull(host))).toBe('IMAGE_PULL_FAILED');
    const auths = { [host]: { auth: Buffer.from('me:secret').toString('base64') } };
    writeFileSync(path.join(work, 'config.json'), JSON.stringify({ auths }));
    expect((await pull(host, { credentials: undefined })).manifest.source).toBe(manifestDigest);
    writeFileSync(path.join(work, 'config.json'), '{"auths": secret');
    const broken = await failure(pull(host, { credentials: undefined }));
    expect(broken.code).toBe('FILE_INVALID');
    expect(`${broken.message} ${String(broken.cause)}`).not.toContain('secret');
  } finally {
    if (before === undefined) delete process.env['DOCKER_CONFIG'];
    else process.env['DOCKER_CONFIG'] = before;
  }
});

const isBlob = (url: string | undefined): boolean => url?.endsWith(layerDigest) === true;
const bad: [string, Answer, string, RegExp][] = [
  ['closes', ({ socket }) => (socket.destroy(), true), 'IMAGE_PULL_FAILED', /broke off/],
  ['stalls before it answers', () => true, 'TIMEOUT', /said nothing/],
  [
    'stalls in a layer',
    ({ url }, response) => isBlob(url) && (response.writeHead(200).write('x'), true),
    'TIMEOUT',
    /said nothing/,
  ],
  [
    'closes in a layer',
    ({ url }, response) => isBlob(url) && (response.write('x', () => response.destroy()), true),
    'IMAGE_PULL_FAILED',
    /broke off/,
  ],
  [
    'sends too little',
    ({ url }, response) => isBlob(url) && (response.end('x'), true),
    'IMAGE_PULL_FAILED',
    /1 bytes of/,
  ],
  [
    'sends too much',
    ({ url }, response) => isBlob(url) && (response.end(Buffer.alloc(1 << 20)), true),
    'IMAGE_PULL_FAILED',
    /more than the/,
  ],
  [
    'sends another layer',
    ({ url }, response) =>
      isBlob(url) && (response.end(Buffer.alloc(files.get(`blobs/sha256/${layerDigest.slice(7)}`)?.length ?? 0)), true),
    'IMAGE_INVALID',
    /digest/,
  ],
  [
    'redirects for ever',
    ({ url }, response) => (response.writeHead(302, { location: `${url}x` }).end(), true),
    'IMAGE_PULL_FAILED',
    /more than 5 times/,
  ],
  [
    'redirects to a file',
    (_, response) => (response.writeHead(302, { location: 'file:///etc/passwd' }).end(), true),
    'IMAGE_PULL_FAILED',
    /not safe/,
  ],
  [
    'redirects to another host without TLS',
    (_, response) => (response.writeHead(302, { location: 'http://192.0.2.1/' }).end(), true),
    'IMAGE_PULL_FAILED',
    /not safe/,
  ],
  [
    'sends a manifest without an end',
    (_, response) => (response.end(Buffer.alloc(5 << 20, ' ')), true),
    'IMAGE_PULL_FAILED',
    /more than/,
  ],
  [
    'sends a manifest of another digest',
    (_, response) => (response.setHeader('docker-content-digest', `sha256:${'0'.repeat(64)}`).end(manifest), true),
    'IMAGE_INVALID',
    /digest/,
  ],
  [
    'sends what is no manifest',
    (_, response) => (response.setHeader('content-type', 'text/html').end('<html>'), true),
    'UNSUPPORTED',
    /text\/html/,
  ],
  [
    'sends a manifest that is no JSON',
    (_, response) => (response.setHeader('content-type', types.manifest).end('{'), true),
    'IMAGE_INVALID',
    /no JSON/,
  ],
  [
    'has no such image',
    (_, response) => (response.writeHead(404).end('{"errors":[{"message":"no\\u001b[31m"}]}'), true),
    'IMAGE_NOT_FOUND',
    /app 1: no \[31m/,
  ],
  ['fails', (_, response) => (response.writeHead(500).end('x'), true), 'IMAGE_PULL_FAILED', /answers with 500/],
  ['refuses', (_, response) => (response.writeHead(403).end(), true), 'IMAGE_PULL_FAILED', /does not give/],
  [
    'asks in an unknown way',
    (_, response) => (response.writeHead(401, { 'www-authenticate': 'Negotiate' }).end(), true),
    'IMAGE_PULL_FAILED',
    /not known/,
  ],
  [
    'sends for a token where none should go',
    (_, response) => (response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://192.0.2.1/t"' }).end(), true),
    'IMAGE_PULL_FAILED',
    /no safe place/,
  ],
];
it.each(bad)('gives a registry up that %s', async (_, answer, code, words) => {
  const { host } = await registry(answer);
  const error = await failure(pull(host, { idleMs: 400 }));
  expect([error.code, error.message]).toEqual([code, expect.stringMatching(words)]);
  await expectNothing();
});

it('ends when it is told to, or has no more time, and when nobody listens', async () => {
  const { host } = await registry(() => true);
  const abort = new AbortController();
  const pulling = codeOf(pull(host, { signal: abort.signal }));
  abort.abort();
  expect(await pulling).toBe('ABORTED');
  expect(await codeOf(pull(host, { timeoutMs: 50 }))).toBe('TIMEOUT');
  expect(await codeOf(pull('127.0.0.1:1'))).toBe('IMAGE_PULL_FAILED');
  expect(await codeOf(pull(host, { maxBytes: 1, timeoutMs: 50 }))).toBe('TIMEOUT');
  const good = await registry();
  expect(await codeOf(pull(good.host, { maxBytes: 10 }))).toBe('IMAGE_INVALID');
  await expectNothing();
});

describe('a reference', () => {
  it('is read as Docker reads it', () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(parseReference('python')).toEqual({
      registry: 'docker.io',
      repository: 'library/python',
      tag: 'latest',
      digest: undefined,
    });
    expect(parseReference('team/app:1.2')).toMatchObject({ registry: 'docker.io', repository: 'team/app', tag: '1.2' });
    expect(parseReference(`ghcr.io/a/b@${digest}`)).toMatchObject({ registry: 'ghcr.io', repository: 'a/b', digest });
    expect(parseReference('localhost/app')).toMatchObject({ registry: 'localhost', repository: 'app' });
    expect(parseReference('127.0.0.1:5000/app:x')).toMatchObject({
      registry: '127.0.0.1:5000',
      repository: 'app',
      tag: 'x',
    });
    for (const wrong of ['', 'UPPER/case', 'a//b', 'a b', '../x', 'a:b:c', 'a@sha256:1', `a/${'b'.repeat(300)}`])
      expect(() => parseReference(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_NAME' }) as Error);
  });

  it('is asked for by HTTPS, except on this host', () => {
    expect(registryUrl('docker.io').href).toBe('https://registry-1.docker.io/');
    expect(registryUrl('example.com:5000').href).toBe('https://example.com:5000/');
    expect(registryUrl('localhost:5000').href).toBe('http://localhost:5000/');
    expect(registryUrl('127.0.0.1:443').href).toBe('http://127.0.0.1:443/');
    expect(registryUrl('127.0.0.1.example.com').protocol).toBe('https:');
  });
});

it('pulls from the registry of the distribution project, with basic authentication', async ({ skip }) => {
  if (!existsSync('/usr/bin/docker-registry')) return skip('this host has no docker-registry');
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const host = `127.0.0.1:${port}`;
  mkdirSync(path.join(work, 'data'));
  // bcrypt, of `secret`
  writeFileSync(path.join(work, 'htpasswd'), 'user:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n');
  const config = {
    version: '0.1',
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: path.join(work, 'data') } },
    auth: { htpasswd: { realm: 'test', path: path.join(work, 'htpasswd') } },
    http: { addr: host },
  };
  writeFileSync(path.join(work, 'config.yml'), JSON.stringify(config));
  const server = spawn('/usr/bin/docker-registry', ['serve', path.join(work, 'config.yml')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  closers.push(async () => {
    server.kill('SIGKILL');
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
  });
  const authorization = `Basic ${Buffer.from('user:secret').toString('base64')}`;
  const send = (url: string, init: RequestInit, type = 'application/octet-stream'): Promise<Response> =>
    fetch(new URL(url, `http://${host}`), {
      ...init,
      headers: { authorization, connection: 'close', 'content-type': type },
    });
  await listening(server);
  for (const [name, body] of files) {
    const digest = name.startsWith('blobs/') ? `sha256:${path.basename(name)}` : undefined;
    if (digest === undefined || digest === manifestDigest) continue;
    const { headers } = await send('/v2/app/blobs/uploads/', { method: 'POST' });
    const target = new URL(headers.get('location') ?? '', `http://${host}`);
    target.searchParams.set('digest', digest);
    expect((await send(target.href, { method: 'PUT', body: new Uint8Array(body) })).status).toBe(201);
  }
  const put = { method: 'PUT', body: new Uint8Array(manifest) };
  expect((await send('/v2/app/manifests/1', put, types.manifest)).status).toBe(201);
  const credentials = { username: 'user', password: 'secret' };
  expect((await pull(host, { credentials })).manifest.source).toBe(manifestDigest);
  expect(await codeOf(pull(host, { credentials: { ...credentials, password: 'wrong' } }))).toBe('IMAGE_PULL_FAILED');
  expect(await codeOf(pullRoot({ store, reference: `${host}/none`, credentials }))).toBe('IMAGE_NOT_FOUND');
});

/** Waits for the line that says so, and reads on: a registry that nobody reads would end. */
async function listening({ stderr }: ChildProcessByStdio<null, null, Readable>): Promise<void> {
  let text = '';
  await new Promise<void>((resolve, reject) => {
    stderr.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      if (text.includes('listening on')) resolve();
    });
    stderr.on('end', () => reject(new Error(`docker-registry ended: ${text}`)));
  });
}
