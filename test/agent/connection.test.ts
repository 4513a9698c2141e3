import { once } from 'node:events';
import { constants } from 'node:os';
import net from 'node:net';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AgentUnderTest } from './agent-under-test.ts';
import type { RawClient } from './raw-client.ts';
import { buildSanitized } from './sanitized-build.ts';
import { encodeFrame, Fields, integer, tags, text, types } from './wire.ts';

const { errno } = constants;
const streamLimit = 256;

beforeAll(() => buildSanitized(), 120_000);

let agent: AgentUnderTest;
let client: RawClient;
const open: (net.Server | net.Socket)[] = [];
beforeEach(async () => {
  agent = await AgentUnderTest.start();
  client = await agent.session();
});
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) {
    if (one instanceof net.Socket) one.destroy();
    else await new Promise((resolve) => one.close(resolve));
  }
  await agent.stop();
});

/** A server that the agent can dial. */
async function serve(onClient: (socket: net.Socket) => void): Promise<string> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    open.push(socket);
    socket.on('error', () => {});
    onClient(socket);
  });
  open.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `tcp:127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

const dial = (address: string, ...more: Buffer[]): number =>
  client.request(types.dial, text(tags.address, address), ...more);

/** Listens; resolves with the stream and the address that was chosen. */
async function listen(): Promise<{ stream: number; port: number }> {
  const stream = client.request(types.listen, text(tags.address, 'tcp:127.0.0.1:0'));
  const { type, payload } = await client.next();
  expect(type).toBe(types.started);
  return { stream, port: Number(new Fields(payload).string(tags.address)?.split(':').at(-1)) };
}

async function connected(port: number): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1').on('error', () => {});
  open.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** More than the kernel holds for a program that does not read, and more than the credit. */
function flood(stream: number): void {
  for (let count = 0; count < 1000; count += 1) client.data(stream, Buffer.alloc(32_768));
}

/** The errno with which the whole session ends. */
async function sessionError(): Promise<number | undefined> {
  const { payload } = await client.nextOf(types.error);
  return new Fields(payload).number(tags.errno);
}

describe('DIAL', () => {
  it('carries bytes within the credit, and the end of file without any', async () => {
    const address = await serve((socket) => socket.end('0123456789'));
    const stream = dial(address, integer(tags.credit, 4));
    expect(await client.next()).toMatchObject({ type: types.started, stream, payload: Buffer.alloc(0) });
    expect((await client.next()).payload.toString()).toBe('\x010123');
    client.credit(stream, 1, 6);
    expect((await client.next()).payload.toString()).toBe('\x01456789');
    expect((await client.next()).payload.toString()).toBe('\x01');
    client.data(stream, '');
    expect(await client.next()).toMatchObject({ type: types.done, stream });
  });

  it('gives credit back as the program reads, also when it reads no more', async () => {
    const address = await serve((socket) => socket.resume());
    const stream = dial(address);
    await client.nextOf(types.started);
    for (let sent = 0; sent < 400_000;) {
      client.data(stream, Buffer.alloc(32_768));
      sent += 32_768;
      const { type, payload } = await client.next();
      expect(type).toBe(types.credit);
      expect(payload.readUInt32LE(1)).toBeGreaterThanOrEqual(16_384);
    }
  });

  it('is closed at once by CANCEL, by a new session and by a hang-up', async () => {
    let closed: Promise<unknown>[] = [];
    const address = await serve((socket) => closed.push(once(socket.resume(), 'end')));
    const stream = dial(address);
    await client.nextOf(types.started);
    client.send(encodeFrame(types.cancel, stream));
    expect(await client.next()).toMatchObject({ type: types.done, stream });
    await Promise.all(closed);
    closed = [];
    dial(address);
    await client.nextOf(types.started);
    await client.open();
    await Promise.all(closed);
    closed = [];
    dial(address);
    await client.nextOf(types.started);
    await client.close();
    await Promise.all(closed);
  });

  it.each([
    ['no address', [], errno.EINVAL],
    ['two addresses', [text(tags.address, 'unix:/a'), text(tags.address, 'unix:/b')], errno.EINVAL],
    ['another field', [text(tags.address, 'unix:/a'), text(tags.user, 'root')], errno.EINVAL],
    ['a name', [text(tags.address, 'tcp:example.com:80')], errno.EINVAL],
    ['a port above all', [text(tags.address, 'tcp:127.0.0.1:70000')], errno.EINVAL],
    ['a NUL', [text(tags.address, 'unix:/a\0b')], errno.EINVAL],
    ['a path too long', [text(tags.address, `unix:/${'a'.repeat(110)}`)], errno.EINVAL],
    ['an endless address', [text(tags.address, `unix:/${'a'.repeat(60_000)}`)], errno.EINVAL],
    ['a path that is not there', [text(tags.address, 'unix:/no/such/path')], errno.ENOENT],
  ])('with %s fails alone', async (_, fields, expected) => {
    const stream = client.request(types.dial, ...fields);
    const { type, stream: from, payload } = await client.next();
    expect({ type, from }).toEqual({ type: types.error, from: stream });
    expect(new Fields(payload).number(tags.errno)).toBe(expected);
    expect((await client.run(['true'])).fields.number(tags.code)).toBe(0);
  });

  it.each([
    ['DATA beyond the credit', (stream: number) => flood(stream)],
    ['DATA after the end of file', (stream: number) => ['', 'x'].forEach((it) => client.data(stream, it))],
    ['CREDIT for channel 0', (stream: number) => client.credit(stream, 0, 5)],
    ['SIGNAL', (stream: number) => client.send(encodeFrame(types.signal, stream, integer(tags.signal, 9)))],
  ])('%s ends the session', async (_, send) => {
    const address = await serve((socket) => socket.pause());
    const stream = dial(address);
    await client.nextOf(types.started);
    send(stream);
    expect(await sessionError()).toBe(errno.EPROTO);
  });
});

it('DATA before STARTED ends the session', async () => {
  const address = await serve(() => {});
  const frames = [types.dial, types.data].map((type) =>
    encodeFrame(type, 1, type === types.dial ? text(tags.address, address) : Buffer.from('\0x')),
  );
  client.send(...frames);
  expect(await sessionError()).toBe(errno.EPROTO);
});

describe('LISTEN', () => {
  it('opens streams of even ids, which are connections', async () => {
    const { stream, port } = await listen();
    const socket = await connected(port);
    const { type, stream: id, payload } = await client.next();
    expect({ type, id }).toEqual({ type: types.accepted, id: 2 });
    const fields = new Fields(payload);
    expect(fields.number(tags.listener)).toBe(stream);
    expect(fields.string(tags.address)).toBe(`tcp:127.0.0.1:${(socket.address() as net.AddressInfo).port}`);
    client.data(id, 'hello');
    expect(String((await once(socket, 'data'))[0])).toBe('hello');
    socket.end('bye');
    expect((await client.next()).payload.toString()).toBe('\x01bye');
    client.send(encodeFrame(types.cancel, stream));
    expect((await client.nextOf(types.done)).stream).toBe(stream);
    client.data(id, '');
    expect((await client.nextOf(types.done)).stream).toBe(id);
  });

  it('takes 128 connections, and the next when one has ended', async () => {
    const { port } = await listen();
    const sockets = await Promise.all(Array.from({ length: 140 }, () => connected(port)));
    for (let count = 1; count <= 128; count += 1) expect((await client.next()).stream).toBe(2 * count);
    expect((await client.run(['true'])).fields.number(tags.code)).toBe(0);
    expect(client.pending).toBe(0);
    client.send(encodeFrame(types.cancel, 2));
    expect((await client.nextOf(types.accepted)).stream).toBe(258);
    sockets.forEach((socket) => socket.destroy());
  });

  it('refuses what it can’t bind, and a stream id of its own kind that is not open is an error', async () => {
    const taken = path.join(agent.folder, 'agent0.sock');
    client.request(types.listen, text(tags.address, `unix:${taken}`));
    expect(await sessionError()).toBe(errno.EADDRINUSE);
    client.data(2, 'x');
    expect(await sessionError()).toBe(errno.EPROTO);
  });

  it('counts as streams do', async () => {
    for (let count = 0; count < streamLimit; count += 1) await listen();
    client.request(types.listen, text(tags.address, 'tcp:127.0.0.1:0'));
    expect(await sessionError()).toBe(errno.EAGAIN);
    expect((await client.run(['true'])).fields.number(tags.errno)).toBe(errno.EAGAIN);
  });
});

describe('ONLINE and RESCAN', () => {
  it('count, and change nothing in host mode', async () => {
    client.request(types.online);
    const fields = new Fields((await client.nextOf(types.done)).payload);
    expect(fields.number(tags.cpusOnline)).toBeGreaterThan(0);
    expect(fields.number(tags.memoryBlocks)).toBeGreaterThanOrEqual(0);
    client.request(types.rescan);
    await client.nextOf(types.done);
    client.request(types.online, integer(tags.pid, 1));
    expect(await sessionError()).toBe(errno.EINVAL);
  });
});

it('PREPARE needs cgroups, and takes no fields', async () => {
  client.request(types.prepare);
  expect(await sessionError()).toBe(errno.EOPNOTSUPP);
  client.request(types.prepare, integer(tags.pid, 1));
  expect(await sessionError()).toBe(errno.EINVAL);
  expect((await client.run(['true'])).fields.number(tags.code)).toBe(0);
});
