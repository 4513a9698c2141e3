import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { GuestAgent } from '../../../../src/guest/agent.ts';
import { type FakeAgent, T, HELLO, connectFake, intField, settled, textFields } from './fake-agent.ts';

const PUT = 0x20;
const GET = 0x21;
const WINDOW = 1_048_576;

let fake: FakeAgent;
let agent: GuestAgent;

beforeEach(async () => {
  ({ fake, agent } = await connectFake(
    {},
    HELLO.map(([tag, value]) => (tag === 2 ? [2, 'spawn put get'] : [tag, value])),
  ));
});
afterEach(async () => {
  vi.useRealTimers();
  await agent.close();
  await settled();
});

/** An archive without an end, which says how much of it was taken and whether it was let go. */
function endless(): AsyncIterable<Buffer> & { given: number; left: boolean } {
  const source = {
    given: 0,
    left: false,
    async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
      try {
        for (;;) {
          source.given += 65_536;
          yield Buffer.alloc(65_536);
        }
      } finally {
        source.left = true;
      }
    },
  };
  return source;
}

describe('putFiles', () => {
  test('sends the archive, its end, and resolves with what the guest says', async () => {
    const copied = agent.putFiles(Readable.from([Buffer.from('ar'), Buffer.from('chive')]), '/srv', { top: 'x' });
    const { stream, payload } = await fake.next(PUT);
    expect([textFields(payload, 80), textFields(payload, 83)]).toEqual([['/srv'], ['x']]);
    const pieces: string[] = [];
    for (let piece; (piece = (await fake.next(T.data)).payload).length > 1;) pieces.push(piece.toString('latin1', 1));
    expect(pieces.join('')).toBe('archive');
    fake.fields(T.done, stream, [
      [85, 3],
      [86, 2 ** 40],
    ]);
    expect(await copied).toEqual({ entries: 3, bytes: 2 ** 40 });
  });

  test('stays within the credit', async () => {
    const source = endless();
    const copied = agent.putFiles(source, '/srv').catch((error: unknown) => error);
    const { stream } = await fake.next(PUT);
    await settled();
    await settled();
    const sent = fake.unread.reduce((sum, { payload }) => sum + payload.length - 1, 0);
    expect(sent).toBe(65_536);
    expect(source.given).toBeLessThan(20 * 65_536);
    fake.fields(T.error, stream, [
      [5, 28],
      [6, '/srv/f: No space left on device'],
    ]);
    expect(await copied).toMatchObject({ code: 'AGENT_FAILED', facts: { errno: 'ENOSPC', path: '/srv' } });
    expect(source.left).toBe(true);
  });

  test.each([
    [2, 'FILE_NOT_FOUND'],
    [20, 'FILE_INVALID'],
    [21, 'FILE_INVALID'],
    [22, 'ARCHIVE_INVALID'],
    [11, 'BUSY'],
    [38, 'UNSUPPORTED'],
  ])('errno %i is %s', async (number, code) => {
    const copied = agent.putFiles(Readable.from([]), '/srv');
    const { stream } = await fake.next(PUT);
    fake.fields(T.error, stream, [[5, number]]);
    await expect(copied).rejects.toMatchObject({ code });
  });

  test.each(['signal', 'timeoutMs', 'source'])(
    'ended by %s, it cancels and waits for the guest to have cleared up',
    async (how) => {
      const controller = new AbortController();
      const broken = (async function* () {
        yield Buffer.alloc(10);
        await delay(20);
        throw new Error('bad disk');
      })();
      const source = how === 'source' ? broken : endless();
      let over = false;
      const copied = agent
        .putFiles(source, '/srv', { signal: controller.signal, timeoutMs: how === 'timeoutMs' ? 30 : undefined })
        .catch((error: unknown) => error)
        .finally(() => (over = true));
      const { stream } = await fake.next(PUT);
      if (how === 'signal') controller.abort();
      while ((await fake.next()).type !== T.cancel);
      await settled();
      expect(over).toBe(false);
      fake.fields(T.error, stream, [[5, 125]]);
      const code = { signal: 'ABORTED', timeoutMs: 'TIMEOUT', source: 'IO' }[how];
      expect(await copied).toMatchObject({ code });
    },
  );

  test('an agent that does not answer a cancel is not waited for for ever', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const controller = new AbortController();
    const copied = agent.putFiles(endless(), '/srv', { signal: controller.signal }).catch((error: unknown) => error);
    await fake.next(PUT);
    controller.abort();
    await settled();
    await vi.advanceTimersByTimeAsync(5000);
    expect(await copied).toMatchObject({ code: 'ABORTED' });
  });

  test('wrong arguments, and an agent that lacks it', async () => {
    for (const [target, top] of [
      ['srv', 'x'],
      ['/a\0', 'x'],
      ['/a', 'x/y'],
      ['/a', '..'],
      ['/a', ''],
    ] as const)
      await expect(agent.putFiles(endless(), target, { top })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const old = await connectFake();
    await expect(old.agent.putFiles(endless(), '/srv')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(() => old.agent.getFiles('/srv')).toThrow('UNSUPPORTED');
    await old.agent.close();
  });
});

describe('getFiles', () => {
  test('gives what comes, credit for what is taken, and the counts', async () => {
    const { stream, done } = agent.getFiles('/etc', { followLink: true });
    const request = await fake.next(GET);
    expect([textFields(request.payload, 80), intField(request.payload, 28), intField(request.payload, 84)]).toEqual([
      ['/etc'],
      WINDOW,
      1,
    ]);
    const piece = Buffer.alloc(65_000, 'x');
    for (let sent = 0; sent < WINDOW / 2; sent += piece.length) fake.data(request.stream, 1, piece);
    const taken = stream.toArray() as Promise<Buffer[]>;
    expect((await fake.next(T.credit)).payload.readUInt32LE(1)).toBeGreaterThanOrEqual(WINDOW / 4);
    fake.data(request.stream, 1, '');
    fake.fields(T.done, request.stream, [
      [85, 2],
      [86, 3],
      [87, 1],
      [6, 'dev/\u0007log'],
    ]);
    expect(Buffer.concat(await taken).length).toBe(Math.ceil(WINDOW / 2 / piece.length) * piece.length);
    expect(await done).toMatchObject({ entries: 2, bytes: 3, skipped: 1 });
  });

  test('an error of the guest destroys the stream', async () => {
    const { stream, done } = agent.getFiles('/none');
    const request = await fake.next(GET);
    fake.fields(T.error, request.stream, [
      [5, 2],
      [6, 'none: \u001b[31mno'],
    ]);
    await expect(stream.toArray()).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
      rawMessage: 'copy in the guest: none:  [31mno',
    });
    await expect(done).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  });

  test.each([
    [
      'data beyond the credit',
      (stream: number) => Array.from({ length: 17 }, () => fake.data(stream, 1, Buffer.alloc(65_000))),
    ],
    ['data after the end', (stream: number) => [fake.data(stream, 1, ''), fake.data(stream, 1, 'x')]],
    ['data on another channel', (stream: number) => [fake.data(stream, 2, 'x')]],
    [
      'an end before the archive is over',
      (stream: number) => [
        fake.fields(T.done, stream, [
          [85, 0],
          [86, 0],
        ]),
      ],
    ],
    ['a frame of a command', (stream: number) => [fake.started(stream)]],
  ])('%s ends the session', async (_name, misbehave) => {
    const { stream, done } = agent.getFiles('/etc');
    const request = await fake.next(GET);
    misbehave(request.stream);
    await expect(done).rejects.toMatchObject({ code: 'AGENT_PROTOCOL' });
    stream.destroy();
    expect(await agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
  });

  test.each(['signal', 'timeoutMs', 'destroy'])('%s cancels it', async (how) => {
    const controller = new AbortController();
    const { stream, done } = agent.getFiles('/etc', {
      signal: controller.signal,
      timeoutMs: how === 'timeoutMs' ? 30 : undefined,
    });
    const request = await fake.next(GET);
    fake.data(request.stream, 1, 'begin');
    await settled();
    if (how === 'signal') controller.abort();
    if (how === 'destroy') stream.destroy();
    while ((await fake.next()).type !== T.cancel);
    fake.data(request.stream, 1, 'what was on its way');
    fake.fields(T.error, request.stream, [[5, 125]]);
    const code = { signal: 'ABORTED', timeoutMs: 'TIMEOUT', destroy: 'AGENT_FAILED' }[how];
    await expect(done).rejects.toMatchObject({ code });
  });

  test('one that nobody reads any more may have come whole: that is no breach', async () => {
    const { stream, done } = agent.getFiles('/etc');
    const request = await fake.next(GET);
    fake.data(request.stream, 1, 'begin');
    await settled();
    stream.destroy(new Error('no such folder'));
    while ((await fake.next()).type !== T.cancel);
    fake.data(request.stream, 1, 'the rest');
    fake.data(request.stream, 1, '');
    fake.fields(T.done, request.stream, [
      [85, 1],
      [86, 2],
    ]);
    await expect(done).rejects.toThrow('no such folder');
    const pinged = agent.ping();
    const ping = await fake.next(T.ping);
    fake.send(T.pong, 0, ping.payload);
    await pinged;
  });

  test('a session that ends takes it along', async () => {
    const { stream, done } = agent.getFiles('/etc');
    await fake.next(GET);
    fake.guest.end();
    await expect(done).rejects.toMatchObject({ code: 'AGENT_GONE' });
    await expect(stream.toArray()).rejects.toMatchObject({ code: 'AGENT_GONE' });
  });
});
