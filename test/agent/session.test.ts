import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AgentUnderTest } from './agent-under-test.ts';
import type { RawClient } from './raw-client.ts';
import { buildSanitized } from './sanitized-build.ts';
import { bytes, encodeFrame, Fields, integer, tags, text, types } from './wire.ts';

// The first file to come here compiles.
beforeAll(() => buildSanitized(), 120_000);

let agent: AgentUnderTest;
let client: RawClient;
beforeEach(async () => {
  agent = await AgentUnderTest.start();
  client = await agent.connect();
});
afterEach(() => agent.stop());

async function pong(): Promise<void> {
  const body = randomBytes(8);
  client.send(encodeFrame(types.ping, 0, body));
  const { payload } = await client.nextOf(types.pong);
  expect(payload.equals(body)).toBe(true);
}

describe('opening', () => {
  it('tells version, features, agent and boot id', async () => {
    const hello = await client.open();
    expect(hello.number(tags.version)).toBe(1);
    expect(hello.string(tags.features)?.split(' ')).toEqual(
      expect.arrayContaining(['spawn', 'pty', 'signal', 'sync', 'info', 'poweroff']),
    );
    expect(hello.string(tags.agent)).toMatch(/^\d+\.\d+\.\d+$/);
    expect(hello.string(tags.bootId)).toMatch(/^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
  });

  it('waits for the preface in whatever comes before it', async () => {
    client.send(Buffer.from('PVAGENT'), randomBytes(100_000), Buffer.from('PVAG'));
    await client.open();
    await pong();
  });

  it('skips zero bytes between frames, and takes a preface in single bytes', async () => {
    client.send(Buffer.alloc(65_548));
    await client.open();
    client.send(Buffer.alloc(100_000));
    await pong();
    const preface = Buffer.concat([Buffer.from('PVAGENT1'), randomBytes(16)]);
    for (const byte of preface) client.send(Buffer.of(byte));
    await client.awaitPreface(preface);
    expect((await client.next()).type).toBe(types.hello);
  });

  it('begins anew in the midst of a half-sent frame behind enough padding', async () => {
    await client.open();
    client.send(encodeFrame(types.spawn, 1, Buffer.alloc(65_536)).subarray(0, 30));
    client.send(Buffer.alloc(65_548));
    await client.open();
    await pong();
  });

  it('drops what the former client has not fetched, and its stream ids', async () => {
    await client.open();
    expect((await client.run(['true'])).fields.number(tags.code)).toBe(0);
    await client.open();
    expect((await client.run(['true'])).fields.number(tags.code)).toBe(0);
  });

  it.each([
    ['another version', encodeFrame(types.hello, 0, integer(tags.version, 2)), 93],
    ['no version', encodeFrame(types.hello, 0), 93],
    ['a version of 3 bytes', encodeFrame(types.hello, 0, bytes(tags.version, Buffer.alloc(3))), 71],
    ['a frame before HELLO', encodeFrame(types.ping, 0), 71],
  ])('refuses %s', async (_name, frame, number) => {
    const preface = Buffer.concat([Buffer.from('PVAGENT1'), randomBytes(16)]);
    client.send(preface, frame);
    await client.awaitPreface(preface);
    const { stream, payload } = await client.nextOf(types.error);
    expect([stream, new Fields(payload).number(tags.errno)]).toEqual([0, number]);
    await client.open();
    await pong();
  });
});

describe('a protocol error', () => {
  const head = encodeFrame(types.ping, 0);
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(head);
    copy[at] = value;
    return copy;
  };
  it.each([
    ['a wrong sync byte', changed(0, 0xa6)],
    ['a broken preface', Buffer.from('PVAGENT2')],
    ['an unknown type', changed(1, 0x7f)],
    ['a type only the agent sends', changed(1, types.pong)],
    ['a reserved field that is not 0', changed(3, 1)],
    ['a payload too long', Buffer.concat([head.subarray(0, 8), Buffer.of(1, 0, 1, 0)])],
    ['a second HELLO', encodeFrame(types.hello, 0, integer(tags.version, 1))],
    ['a PING too long', encodeFrame(types.ping, 0, Buffer.alloc(65))],
    ['an even stream id', encodeFrame(types.info, 2)],
    ['stream 0 for a request', encodeFrame(types.info, 0)],
    ['a frame for a stream that never was', encodeFrame(types.cancel, 7)],
    ['a stream id used twice', Buffer.concat([encodeFrame(types.info, 1), encodeFrame(types.info, 1)])],
  ])('%s is told, and a new preface mends it', async (_name, frame) => {
    await client.open();
    client.send(frame);
    const { stream, payload } = await client.nextOf(types.error);
    expect([stream, new Fields(payload).number(tags.errno)]).toEqual([0, 71]);
    client.send(encodeFrame(types.ping, 0), randomBytes(1000));
    await client.open();
    await pong();
  });
});

it('drops frames for streams that have ended', async () => {
  await client.open();
  const stream = client.spawn(['true']);
  await client.finish(stream);
  client.credit(stream, 1, 5);
  client.data(stream, 'late');
  client.send(encodeFrame(types.cancel, stream));
  await pong();
});

it('has at most 256 streams open, and tells the one too many', async () => {
  await client.open();
  const streams = Array.from({ length: 257 }, () => client.spawn(['sleep', '60']));
  for (let started = 0, refused = 0; started + refused < 257;) {
    const { type, stream, payload } = await client.next();
    if (type === types.started) started++;
    if (type !== types.error) continue;
    refused++;
    expect([stream, new Fields(payload).number(tags.errno)]).toEqual([streams[256], 11]);
  }
}, 60_000);

describe('requests', () => {
  beforeEach(async () => {
    await client.open();
  });

  it('SYNC counts reseeds and touches nothing of the host', async () => {
    const before = Date.now();
    client.request(
      types.sync,
      bytes(tags.entropy, randomBytes(32)),
      integer(tags.clock, 1_000_000_000n),
      text(tags.hostname, 'polyvisor-test'),
    );
    expect((await client.next()).type).toBe(types.done);
    expect(Date.now()).toBeGreaterThanOrEqual(before);
    client.request(types.info);
    const info = new Fields((await client.nextOf(types.done)).payload);
    expect([info.number(tags.reseeds), info.number(tags.processes)]).toEqual([1, 0]);
    expect(info.number(tags.uptimeMs)).toBeGreaterThan(0);
    expect(info.number(tags.memoryTotal)).toBeGreaterThan(1 << 20);
    expect(info.number(tags.cpusOnline)).toBeGreaterThan(0);
  });

  it.each([
    ['too little entropy', types.sync, bytes(tags.entropy, Buffer.alloc(31))],
    ['a hostname too long', types.sync, text(tags.hostname, 'x'.repeat(64))],
    ['a machine id too short', types.sync, text(tags.machineId, 'a'.repeat(31))],
    ['a mask of 5 bytes', types.sync, bytes(tags.macMask, Buffer.alloc(5))],
    ['an unknown field of SYNC', types.sync, integer(tags.mode, 0)],
    ['a cut field', types.sync, Buffer.of(49, 0, 0, 0, 99)],
    ['fields for INFO', types.info, integer(tags.mode, 0)],
    ['a fourth power mode', types.poweroff, integer(tags.mode, 3)],
  ])('%s is an error of that request alone', async (_name, type, field) => {
    const stream = client.request(type, field);
    const { type: answer, stream: on, payload } = await client.next();
    expect([answer, on, new Fields(payload).number(tags.errno)]).toEqual([types.error, stream, 22]);
    await pong();
  });

  it.each([
    ['a machine id', text(tags.machineId, 'a'.repeat(32))],
    ['other MACs', bytes(tags.macMask, Buffer.alloc(6))],
  ])('SYNC never gives a host %s', async (_name, field) => {
    const stream = client.request(types.sync, field);
    const { type: answer, stream: on, payload } = await client.next();
    expect([answer, on, new Fields(payload).number(tags.errno)]).toEqual([types.error, stream, 95]);
    await pong();
  });

  it('POWEROFF is answered and announced, then the agent and all its processes end', async () => {
    const other = await agent.session(1);
    const stream = other.spawn(['sleep', '60']);
    await other.nextOf(types.started);
    client.request(types.poweroff, integer(tags.mode, 0));
    expect((await client.next()).type).toBe(types.done);
    const event = new Fields((await other.nextOf(types.event)).payload);
    expect(event.string(tags.event)).toBe('shutdown');
    expect((await other.finish(stream)).fields.number(tags.signal)).toBe(9);
    await agent.exited();
  });
});

describe('channels', () => {
  it('are sockets of their owner alone, each serving one client at a time', async () => {
    expect(statSync(agent.socket(0)).mode & 0o777).toBe(0o600);
    await client.open();
    const second = await agent.connect();
    const opening = second.open();
    await pong();
    expect(second.pending).toBe(0);
    await client.close();
    expect((await opening).number(tags.version)).toBe(1);
  });

  it('do not disturb each other', async () => {
    await client.open();
    const other = await agent.session(1);
    const stream = client.spawn(['sh', '-c', 'sleep 0.3; echo alive']);
    other.send(Buffer.from('garbage'));
    await other.nextOf(types.error);
    expect((await client.finish(stream)).stdout).toBe('alive\n');
  });
});
