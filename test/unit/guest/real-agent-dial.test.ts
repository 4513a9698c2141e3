import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { GuestAgent } from '../../../src/guest/agent.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { type Guest, startGuest } from './host-agent.ts';

let guest: Guest;
let agent: GuestAgent;
let folder: string;
const servers: net.Server[] = [];
const clients = new Set<net.Socket>();

beforeAll(async () => {
  guest = await startGuest();
  folder = mkdtempSync(path.join(os.tmpdir(), 'dial-'));
});
afterAll(async () => {
  await guest.stop();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  agent = await guest.connect();
});
afterEach(async () => {
  await agent.close();
  for (const client of clients) client.destroy();
  clients.clear();
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

/** A server on this host, which the agent in host mode takes for the guest's. */
async function serve(listen: net.ListenOptions, onClient: (client: net.Socket) => void): Promise<string> {
  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    client.on('error', () => {});
    clients.add(client);
    onClient(client);
  });
  servers.push(server);
  server.listen(listen);
  await once(server, 'listening');
  const at = server.address();
  if (typeof at === 'string' || at === null) return `unix:${at}`;
  return at.family === 'IPv6' ? `tcp:[${at.address}]:${at.port}` : `tcp:${at.address}:${at.port}`;
}

/** All that comes; iterating would destroy the other direction too. */
async function buffer(stream: Duplex): Promise<Buffer> {
  const parts: Buffer[] = [];
  stream.on('data', (data: Buffer) => parts.push(data));
  await once(stream, 'end');
  return Buffer.concat(parts);
}
const text = async (stream: Duplex): Promise<string> => (await buffer(stream)).toString();

const ended = (client: net.Socket): Promise<unknown> =>
  new Promise((resolve) => {
    client.on('end', resolve).on('close', resolve).resume();
  });

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

describe('dial', () => {
  test.each([
    ['IPv4', { host: '127.0.0.1', port: 0 }],
    ['IPv6', { host: '::1', port: 0 }],
    ['a unix socket', { path: 'server.sock' }],
  ])('%s: bytes both ways, each direction ending for itself', async (_, listen) => {
    const at = 'path' in listen ? { path: path.join(folder, listen.path) } : listen;
    // Answers only when it has read all: that needs the end of file to arrive while its own side is open.
    const address = await serve(at, (client) => {
      void buffer(client).then((all) => client.end(digest(all)));
    });
    const stream = await agent.dial(address);
    const sent = randomBytes(3_000_000);
    stream.end(sent);
    expect(await text(stream)).toBe(digest(sent));
  });

  test('localhost is IPv4 first, then IPv6', async () => {
    const address = await serve({ host: '::1', port: 0 }, (client) => client.end('six'));
    expect(await text(await agent.dial(address.replace('[::1]', 'localhost')))).toBe('six');
  });

  test('what ends first on the other side does not end ours', async () => {
    const got: Promise<Buffer>[] = [];
    const address = await serve({ host: '127.0.0.1', port: 0 }, (client) => {
      client.end('bye');
      got.push(buffer(client));
    });
    const stream = await agent.dial(address);
    expect(await text(stream)).toBe('bye');
    stream.end('still here');
    expect((await got[0])?.toString()).toBe('still here');
  });

  test('nobody reads: the sender waits, on both sides', async () => {
    let client: net.Socket | undefined;
    const address = await serve({ host: '127.0.0.1', port: 0 }, (it) => {
      client = it.pause();
    });
    const stream = await agent.dial(address);
    const chunk = Buffer.alloc(65_536, 'x');
    let given = 0;
    const give = (to: Duplex): void => {
      while (given < 64 << 20 && to.write(chunk)) given += chunk.length;
    };
    give(stream);
    stream.on('drain', () => give(stream));
    await sleep(300);
    // Kernel buffers of the host take a few MiB; nothing of ours takes more than its credit.
    expect(given).toBeLessThan(32 << 20);
    stream.destroy();

    given = 0;
    const other = await agent.dial(address);
    await sleep(20);
    const server = client as unknown as net.Socket;
    give(server);
    server.on('drain', () => give(server));
    await sleep(300);
    expect(given).toBeLessThan(32 << 20);
    let taken = 0;
    for await (const data of other) if ((taken += (data as Buffer).length) >= 48 << 20) break;
    await agent.ping();
  });

  test('many at once do not mix', async () => {
    const address = await serve({ host: '127.0.0.1', port: 0 }, (client) => client.pipe(client));
    const answers = await Promise.all(
      Array.from({ length: 60 }, async (_, n) => {
        const stream = await agent.dial(address);
        stream.end(`${n}`.repeat(20_000));
        return (await text(stream)) === `${n}`.repeat(20_000);
      }),
    );
    expect(answers).toEqual(Array.from({ length: 60 }, () => true));
  });

  test('what cannot be reached says why', async () => {
    const address = await serve({ host: '127.0.0.1', port: 0 }, () => {});
    await new Promise((resolve) => servers.pop()?.close(resolve));
    const refused = await failure(agent.dial(address));
    expect(refused).toMatchObject({ code: 'CONNECT_FAILED', facts: { operation: 'dial', errno: 'ECONNREFUSED' } });
    const both = await failure(agent.dial(address.replace('127.0.0.1', 'localhost')));
    expect(both).toMatchObject({ code: 'CONNECT_FAILED', facts: { errno: 'ECONNREFUSED' } });
    const missing = await failure(agent.dial(`unix:${folder}/nothing.sock`));
    expect(missing).toMatchObject({ code: 'CONNECT_FAILED', facts: { errno: 'ENOENT' } });
    for (const wrong of [
      '',
      'tcp:',
      'tcp:80',
      'tcp:example.com:80',
      'tcp:::1:80',
      'tcp:1.2.3.4:65536',
      'unix:relative',
    ])
      expect(await codeOf(agent.dial(wrong)), wrong).toBe('INVALID_ARGUMENT');
    await agent.ping();
  });

  test('a server that breaks off is an error; a session that ends breaks all off', async () => {
    const closed: Promise<unknown>[] = [];
    const address = await serve({ host: '127.0.0.1', port: 0 }, (client) => {
      closed.push(ended(client));
      client.on('data', (data) => {
        if (data.toString() === 'reset') client.resetAndDestroy();
      });
    });
    const stream = await agent.dial(address);
    stream.write('reset');
    const [error] = (await once(stream, 'error')) as [Error];
    expect(error).toMatchObject({ code: 'CONNECT_FAILED', facts: { errno: 'ECONNRESET' } });
    const other = await agent.dial(address);
    const lost = once(other, 'error');
    await agent.close();
    expect((await lost)[0]).toMatchObject({ code: 'AGENT_GONE' });
    await Promise.all(closed);
    agent = await guest.connect();
  });

  test('a call that is given up leaves nothing open', async () => {
    const closed: Promise<unknown>[] = [];
    const address = await serve({ host: '127.0.0.1', port: 0 }, (client) => closed.push(ended(client)));
    expect(await codeOf(agent.dial(address, { signal: AbortSignal.abort() }))).toBe('ABORTED');
    const stop = new AbortController();
    const dialing = agent.dial(address, { signal: stop.signal });
    stop.abort();
    expect(await codeOf(dialing)).toBe('ABORTED');
    await agent.ping();
    await Promise.all(closed);
  });
});

describe('listen', () => {
  test('gives connections of the guest to the host', async () => {
    const from: string[] = [];
    await using listener = await agent.listen('tcp:127.0.0.1:0', (stream, who) => {
      from.push(who);
      stream.pipe(stream);
    });
    const [, port] = /^tcp:127\.0\.0\.1:(\d+)$/.exec(listener.address) ?? [];
    const answers = await Promise.all(
      Array.from({ length: 30 }, async (_, n) => {
        const client = net.connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
        client.end(`hello ${n}`);
        return await text(client);
      }),
    );
    expect(answers).toEqual(Array.from({ length: 30 }, (_, n) => `hello ${n}`));
    expect(from).toHaveLength(30);
    expect(from[0]).toMatch(/^tcp:127\.0\.0\.1:\d+$/);
  });

  test('on a unix socket, which is removed at the end', async () => {
    const at = path.join(folder, 'guest.sock');
    const listener = await agent.listen(`unix:${at}`, (stream) => stream.end('from the host'));
    expect(await text(net.connect(at))).toBe('from the host');
    await listener.close();
    expect(await listener.closed).toBeUndefined();
    expect(existsSync(at)).toBe(false);
  });

  test('an address in use, or that is none, says so', async () => {
    const taken = await serve({ host: '127.0.0.1', port: 0 }, () => {});
    const error = await failure(agent.listen(taken, () => {}));
    expect(error).toMatchObject({ code: 'AGENT_FAILED', facts: { operation: 'listen', errno: 'EADDRINUSE' } });
    expect(await codeOf(agent.listen('tcp:nowhere:1', () => {}))).toBe('INVALID_ARGUMENT');
  });

  test('ends with the session, and leaves streams for other things', async () => {
    const accepted: Duplex[] = [];
    const listener = await agent.listen('tcp:127.0.0.1:0', (stream) => accepted.push(stream));
    const port = Number(listener.address.split(':').at(-1));
    const many = Array.from({ length: 200 }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
    await Promise.all(many.map((it) => once(it, 'connect')));
    await agent.ping();
    expect(accepted).toHaveLength(128);
    expect((await agent.exec(['echo', 'room'])).stdout).toBe('room\n');
    // The next one in the backlog gets the place of one that goes.
    accepted[0]?.destroy();
    while (accepted.length < 129) await agent.ping();
    await agent.close();
    expect(await listener.closed).toMatchObject({ code: 'AGENT_GONE' });
    for (const client of many) if (!client.closed) await once(client.destroy(), 'close');
    agent = await guest.connect();
    await expect(once(net.connect(port, '127.0.0.1'), 'connect')).rejects.toThrow('ECONNREFUSED');
  });
});

test('an agent without cgroups prepares nothing', async () => {
  expect(agent.features.has('prepare')).toBe(false);
  await expect(agent.prepare()).rejects.toMatchObject({ code: 'UNSUPPORTED', facts: { operation: 'prepare' } });
});

test('online and rescan leave a host as it is', async () => {
  const { cpus, memoryBlocks, memoryBlockBytes } = await agent.online();
  expect(cpus).toBeGreaterThan(0);
  expect(memoryBlocks).toBeGreaterThanOrEqual(0);
  expect(memoryBlockBytes).toBeGreaterThanOrEqual(0);
  await agent.rescan();
});
