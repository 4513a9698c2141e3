import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GuestEvent } from '../../../../src/guest/agent.ts';
import { VmError } from '../../../../src/errors.ts';
import {
  HELLO,
  T,
  connectFake,
  fieldBytes,
  frameBytes,
  intField,
  readFields,
  settled,
  textFields,
} from './fake-agent.ts';

describe('requests', () => {
  test('ping settles with its PONG, in order', async () => {
    const { fake, agent } = await connectFake();
    const pings = Promise.all([agent.ping(), agent.ping()]);
    for (let i = 0; i < 2; i += 1) {
      const { payload, stream } = await fake.next(T.ping);
      expect(stream).toBe(0);
      fake.send(T.pong, 0, payload);
    }
    await pings;
    await agent.close();
  });

  test('info gives the figures', async () => {
    const { fake, agent } = await connectFake();
    const info = agent.info();
    const { stream, payload } = await fake.next(T.info);
    expect(payload).toHaveLength(0);
    fake.fields(T.done, stream, [
      [64, 1],
      [65, 2n ** 40n],
      [66, 3],
      [67, 4],
      [68, 5],
      [69, 6],
      [700, 'later'],
    ]);
    expect(await info).toEqual({
      uptimeMs: 1,
      memoryTotalBytes: 2 ** 40,
      memoryAvailableBytes: 3,
      cpusOnline: 4,
      reseeds: 5,
      processes: 6,
    });
    const wrong = agent.info();
    fake.fields(T.done, (await fake.next(T.info)).stream, [[64, 1]]);
    await expect(wrong).rejects.toMatchObject({ code: 'AGENT_PROTOCOL' });
    expect(await agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
  });

  test('sync carries entropy, clock and hostname', async () => {
    const { fake, agent } = await connectFake();
    const entropy = Buffer.alloc(64, 7);
    const sync = agent.sync({ entropy, clockNs: 1_800_000_000_000_000_001n, hostname: 'box' });
    const { stream, payload } = await fake.next(T.sync);
    expect(readFields(payload).find((it) => it.tag === 49)?.value).toEqual(entropy);
    expect(
      readFields(payload)
        .find((it) => it.tag === 50)
        ?.value.readBigUInt64LE(),
    ).toBe(1_800_000_000_000_000_001n);
    expect(textFields(payload, 51)).toEqual(['box']);
    fake.send(T.done, stream);
    await sync;
    for (const wrong of [
      {},
      { entropy: Buffer.alloc(31) },
      { clockNs: -1n },
      { hostname: '' },
      { hostname: 'x'.repeat(64) },
      { hostname: 'a\0' },
    ]) {
      await expect(agent.sync(wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await agent.close();
  });

  test('are refused with what the guest said, and the session goes on', async () => {
    const { fake, agent } = await connectFake();
    const sync = agent.sync({ hostname: 'box' });
    fake.fields(T.error, (await fake.next(T.sync)).stream, [
      [5, 1],
      [6, 'not\u001ballowed'],
    ]);
    await expect(sync).rejects.toMatchObject({
      code: 'AGENT_FAILED',
      facts: { operation: 'sync', errno: 'EPERM' },
      message: expect.stringContaining('not allowed'),
    });
    const info = agent.info();
    fake.fields(T.error, (await fake.next(T.info)).stream, [
      [5, 38],
      [6, ''],
    ]);
    await expect(info).rejects.toMatchObject({ code: 'UNSUPPORTED', message: expect.stringContaining('ENOSYS') });
    await agent.close();
  });

  test('that the agent does not name among its features are not sent', async () => {
    const { fake, agent } = await connectFake(
      {},
      HELLO.map(([tag, value]) => [tag, tag === 2 ? 'spawn' : value] as const),
    );
    await expect(agent.info()).rejects.toMatchObject({ code: 'UNSUPPORTED', facts: { operation: 'info' } });
    await expect(agent.sync({ hostname: 'x' })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(agent.powerOff()).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(fake.unread).toHaveLength(0);
    await agent.close();
  });

  test('end by time or signal; their late answers are dropped', async () => {
    const { fake, agent } = await connectFake();
    const late = agent.info({ timeoutMs: 10 });
    const { stream } = await fake.next(T.info);
    await expect(late).rejects.toMatchObject({ code: 'TIMEOUT', facts: { operation: 'info' } });
    fake.fields(T.done, stream, [[64, 1]]);
    await expect(agent.ping({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
    const ping = agent.ping({ timeoutMs: 10 });
    const { payload } = await fake.next(T.ping);
    await expect(ping).rejects.toMatchObject({ code: 'TIMEOUT' });
    fake.send(T.pong, 0, payload);
    const again = agent.ping();
    fake.send(T.pong, 0, (await fake.next(T.ping)).payload);
    await again;
    await agent.close();
  });

  test('powerOff settles with the answer, or with the end of the channel', async () => {
    for (const answer of [true, false]) {
      const { fake, agent } = await connectFake();
      const off = agent.powerOff('reboot');
      const { stream, payload } = await fake.next(T.poweroff);
      expect(intField(payload, 48)).toBe(1);
      if (answer) fake.send(T.done, stream);
      else fake.guest.end();
      await off;
      await agent.close();
      await expect(agent.powerOff()).rejects.toMatchObject({ code: 'AGENT_GONE' });
    }
    const { agent } = await connectFake();
    await expect(agent.powerOff('explode' as 'halt')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await agent.close();
  });
});

describe('events', () => {
  test('are told, stripped; unknown ones are not', async () => {
    const events: GuestEvent[] = [];
    const { fake, agent } = await connectFake({ onEvent: (event) => events.push(event) });
    fake.fields(T.event, 0, [
      [7, 'log'],
      [6, 'a\u001b[2Jb'],
    ]);
    fake.fields(T.event, 0, [[7, 'later']]);
    fake.fields(T.event, 0, [[7, 'oom']]);
    await settled();
    expect(events).toEqual([
      { event: 'log', message: 'a [2Jb' },
      { event: 'oom', message: '' },
    ]);
    await agent.close();
  });
});

describe('a session ends', () => {
  test('for everything that is open, the cause kept', async () => {
    const { fake, agent } = await connectFake();
    const exec = agent.exec(['x'], { stdin: 'pipe' });
    const unwatched = agent.exec(['y']);
    const ping = agent.ping();
    const info = agent.info();
    await fake.next(T.spawn);
    fake.started(1);
    fake.host.destroy(new Error('EPIPE'));
    const gone = { code: 'AGENT_GONE', cause: { code: 'AGENT_GONE', cause: { message: 'EPIPE' } } };
    await expect(exec).rejects.toMatchObject(gone);
    await expect(info).rejects.toMatchObject(gone);
    await expect(ping).rejects.toMatchObject({ code: 'AGENT_GONE', facts: { operation: 'ping' } });
    expect(unwatched.detached).toBe(false);
    expect(await agent.closed).toMatchObject({ code: 'AGENT_GONE', cause: { message: 'EPIPE' } });
    await expect(exec.cancel()).rejects.toMatchObject({ code: 'AGENT_GONE' });
    await expect(agent.exec(['z'])).rejects.toMatchObject({ code: 'AGENT_GONE' });
    await expect(agent.ping()).rejects.toMatchObject({ code: 'AGENT_GONE' });
    await agent.close();
    await settled();
  });

  test('by close: once, with CANCEL ahead, but not for detached commands', async () => {
    const { fake, agent } = await connectFake({ showsHangup: false });
    const exec = agent.exec(['x']);
    const detached = agent.exec(['y'], { detach: true });
    await fake.next(T.spawn);
    expect(intField((await fake.next(T.spawn)).payload, 24)).toBe(1);
    expect(detached.detached).toBe(true);
    const closing = agent.close();
    expect((await fake.next(T.cancel)).stream).toBe(1);
    await closing;
    await agent[Symbol.asyncDispose]();
    expect(await agent.closed).toBeUndefined();
    await expect(exec).rejects.toMatchObject({ code: 'AGENT_GONE' });
    expect(fake.unread).toHaveLength(0);
    expect(fake.host.destroyed).toBe(true);
  });

  test('by close, also when the guest has stopped reading', async () => {
    const { fake, agent } = await connectFake();
    fake.guest.removeAllListeners('data').pause();
    const exec = agent.exec(['x'], { stdin: 'x'.repeat(60_000) });
    await settled();
    await agent.close();
    await expect(exec).rejects.toMatchObject({ code: 'AGENT_GONE' });
    expect(fake.host.destroyed).toBe(true);
  });

  test('by the agent’s ERROR', async () => {
    const { fake, agent } = await connectFake();
    const exec = agent.exec(['x']);
    fake.fields(T.error, 0, [
      [5, 71],
      [6, 'wrong sync byte'],
    ]);
    await expect(exec).rejects.toMatchObject({
      code: 'AGENT_FAILED',
      message: expect.stringContaining('wrong sync byte'),
    });
    expect(await agent.closed).toMatchObject({ code: 'AGENT_FAILED', facts: { errno: 'EPROTO' } });
  });

  const started = frameBytes(T.started, 1, fieldBytes([[32, 9]]));
  const exit = frameBytes(T.exit, 1, fieldBytes([[35, 0]]));
  const data = (channel: number, text: string, stream: number = 1): Buffer => {
    return frameBytes(T.data, stream, Buffer.concat([Buffer.from([channel]), Buffer.from(text)]));
  };
  const violations: [string, Buffer[]][] = [
    ['a stream that was never opened', [data(1, 'x', 5)]],
    ['an even stream', [data(1, 'x', 2)]],
    ['DATA after EXIT', [started, exit, data(1, 'x')]],
    ['a second EXIT', [started, exit, exit]],
    ['a second STARTED', [started, started]],
    ['EXIT before STARTED', [exit]],
    ['DATA before STARTED', [data(1, 'x')]],
    ['DATA of channel 0', [started, data(0, 'x')]],
    ['DATA of channel 3', [started, data(3, 'x')]],
    ['DATA without a channel', [started, frameBytes(T.data, 1)]],
    ['DATA after the end of file', [started, data(1, ''), data(1, 'x')]],
    ['CREDIT for input that was not asked', [started, frameBytes(T.credit, 1, Buffer.from([0, 1, 0, 0, 0]))]],
    [
      'EXIT with code and signal',
      [
        started,
        frameBytes(
          T.exit,
          1,
          fieldBytes([
            [35, 0],
            [33, 9],
          ]),
        ),
      ],
    ],
    ['EXIT with neither', [started, frameBytes(T.exit, 1)]],
    ['an exit code of 256', [started, frameBytes(T.exit, 1, fieldBytes([[35, 256]]))]],
    ['signal 65', [started, frameBytes(T.exit, 1, fieldBytes([[33, 65]]))]],
    ['pid 0', [frameBytes(T.started, 1, fieldBytes([[32, 0]]))]],
    ['DONE for a command', [frameBytes(T.done, 1)]],
    ['a frame that only hosts send', [frameBytes(T.spawn, 1)]],
    ['a frame that only hosts send, on stream 0', [frameBytes(T.ping, 0)]],
    ['ACCEPTED without LISTEN', [frameBytes(0x24, 2)]],
    ['an unknown type', [frameBytes(0x7f, 1)]],
    ['a second HELLO', [frameBytes(T.hello, 0, fieldBytes(HELLO))]],
    ['a PONG without PING', [frameBytes(T.pong, 0)]],
    [
      'a message of 1,025 bytes',
      [
        frameBytes(
          T.error,
          1,
          fieldBytes([
            [5, 2],
            [6, 'x'.repeat(1025)],
          ]),
        ),
      ],
    ],
    ['an ERROR without a number', [frameBytes(T.error, 1, fieldBytes([[6, 'x']]))]],
    ['a field longer than its frame', [frameBytes(T.started, 1, fieldBytes([[32, 9]]).subarray(0, 12))]],
    ['no frames', [Buffer.from('HTTP/1.1 200 OK')]],
  ];
  test.each(violations)('with AGENT_PROTOCOL by %s', async (_, bytes) => {
    const { fake, agent } = await connectFake();
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    for (const piece of bytes) fake.raw(piece);
    expect(await agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
    expect(fake.host.destroyed).toBe(true);
    if (!bytes.includes(exit)) await expect(exec).rejects.toMatchObject({ code: 'AGENT_PROTOCOL' });
  });

  test('not by CREDIT or ERROR that crossed the end of its stream', async () => {
    const { fake, agent } = await connectFake();
    const exec = agent.exec(['x'], { stdin: 'pipe' });
    await fake.next(T.spawn);
    for (const piece of [started, exit]) fake.raw(piece);
    fake.send(T.credit, 1, Buffer.from([0, 1, 0, 0, 0]));
    fake.fields(T.error, 1, [[5, 3]]);
    await exec;
    const ping = agent.ping();
    fake.send(T.pong, 0, (await fake.next(T.ping)).payload);
    await ping;
    await agent.close();
  });

  test('by credit without bounds', async () => {
    const { fake, agent } = await connectFake();
    const exec = agent.exec(['x'], { stdin: 'pipe' });
    await fake.next(T.spawn);
    fake.raw(started);
    for (let i = 0; i < 2; i += 1) fake.send(T.credit, 1, Buffer.from([0, 255, 255, 255, 255]));
    await expect(exec).rejects.toMatchObject({ code: 'AGENT_PROTOCOL' });
  });
});

describe('what a guest sends', () => {
  const honest = Buffer.concat([
    frameBytes(T.started, 1, fieldBytes([[32, 9]])),
    frameBytes(T.data, 1, Buffer.from('\u0001hello')),
    frameBytes(
      T.event,
      0,
      fieldBytes([
        [7, 'log'],
        [6, 'message'],
      ]),
    ),
    Buffer.alloc(5),
    frameBytes(T.data, 1, Buffer.from('\u0002oops')),
    frameBytes(T.data, 1, Buffer.from('\u0001')),
    frameBytes(T.exit, 1, fieldBytes([[35, 7]])),
  ]);

  /** What the command ended with, once everything was read and the channel closed. */
  async function outcome(pieces: readonly Buffer[]): Promise<unknown> {
    const { fake, agent } = await connectFake();
    const exec = agent.exec(['x']);
    const result = exec.then(
      (it) => [it.exitCode, it.stdout, it.stderr],
      (error: unknown) => error,
    );
    await fake.next(T.spawn);
    for (const piece of pieces) fake.raw(piece);
    if (!fake.guest.destroyed) fake.guest.end();
    const reason = await agent.closed;
    expect(reason).toBeInstanceOf(VmError);
    return await result;
  }

  test('reads the same however it is split', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(honest.length), { maxLength: 8 }), async (places) => {
        const ends = [...places, honest.length].sort((a, b) => a - b);
        const pieces = ends.map((end, i) => honest.subarray(ends[i - 1] ?? 0, end)).filter((it) => it.length > 0);
        expect(await outcome(pieces)).toEqual([7, 'hello', 'oops']);
      }),
      { numRuns: 30 },
    );
  });

  test('gives a result or a typed error when bytes of it are changed, lost or added', async () => {
    const change = fc.record({ at: fc.nat(honest.length), drop: fc.nat(4), add: fc.uint8Array({ maxLength: 4 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        let bytes = honest;
        for (const { at, drop, add } of changes)
          bytes = Buffer.concat([bytes.subarray(0, at), add, bytes.subarray(at + drop)]);
        const result = await outcome([bytes]);
        if (Array.isArray(result)) expect(result[0]).toBeTypeOf('number');
        else expect((result as VmError).code).toMatch(/^(AGENT_PROTOCOL|AGENT_GONE|AGENT_FAILED)$/);
      }),
      { numRuns: 200 },
    );
  });

  test('gives a typed error when it is random', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), async (bytes) => {
        expect((await outcome([Buffer.from(bytes)])) as VmError).toBeInstanceOf(VmError);
      }),
      { numRuns: 100 },
    );
  });
});
