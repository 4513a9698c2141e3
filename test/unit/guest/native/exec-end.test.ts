import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ExecOptions, GuestAgent } from '../../../../src/guest/agent.ts';
import { type FakeAgent, T, connectFake, intField, settled } from './fake-agent.ts';

const WINDOW = 262_144;

let fake: FakeAgent;
let agent: GuestAgent;

beforeEach(async () => {
  ({ fake, agent } = await connectFake());
});
afterEach(async () => {
  await agent.close();
  await settled();
  expect(fake.guest.destroyed).toBe(true);
});

describe('input', () => {
  const big = Buffer.alloc(200_000, 0x62);

  async function receive(total: number): Promise<void> {
    const { stream } = await fake.next(T.spawn);
    fake.started(stream);
    let credit = 65_536;
    let got = 0;
    while (got < total) {
      const { payload } = await fake.next(T.data);
      credit -= payload.length - 1;
      got += payload.length - 1;
      expect(payload[0]).toBe(0);
      expect(credit).toBeGreaterThanOrEqual(0);
      if (credit === 0 && got < total) {
        await settled();
        expect(fake.unread).toHaveLength(0);
        fake.send(T.credit, stream, Buffer.from([0, 0, 0, 1, 0]));
        credit += 65_536;
      }
    }
    expect((await fake.next(T.data)).payload).toEqual(Buffer.from([0]));
    expect(got).toBe(total);
    fake.exit(stream);
  }

  const sources: [string, () => NonNullable<ExecOptions['stdin']>][] = [
    ['bytes', () => big],
    ['a string', () => big.toString()],
    ['a Readable', () => Readable.from([big.subarray(0, 99_999), big.subarray(99_999)])],
    [
      'an async iterable',
      async function* () {
        yield big.toString('latin1', 0, 5);
        yield big.subarray(5);
      },
    ],
  ];
  test.each(sources)('from %s is sent within the credit, then ended', async (_, source) => {
    const exec = agent.exec(['cat'], { stdin: source() });
    await receive(big.length);
    expect((await exec).exitCode).toBe(0);
  });

  test('from the handle', async () => {
    const exec = agent.exec(['cat'], { stdin: 'pipe' });
    exec.stdin?.end(big);
    await receive(big.length);
    expect((await exec).exitCode).toBe(0);
    expect(agent.exec(['cat']).stdin).toBeUndefined();
  });

  test('whose source fails ends the command, and is never taken for complete', async () => {
    const source = new PassThrough();
    const exec = agent.exec(['psql'], { stdin: source });
    const outcome = expect(exec).rejects.toMatchObject({ code: 'IO', cause: { message: 'disk on fire' } });
    await fake.next(T.spawn);
    fake.started(1);
    source.write('BEGIN;');
    expect((await fake.next(T.data)).payload.length).toBe(7);
    source.destroy(new Error('disk on fire'));
    await fake.next(T.cancel);
    fake.exit(1, [[33, 9]]);
    await outcome;
  });

  test('that is not wanted any more is let go at the exit', async () => {
    const source = new PassThrough();
    const exec = agent.exec(['true'], { stdin: source });
    await fake.next(T.spawn);
    fake.started(1);
    fake.exit(1);
    expect((await exec).exitCode).toBe(0);
    await settled();
    expect(source.destroyed).toBe(true);
    const piped = agent.exec(['true'], { stdin: 'pipe' });
    await fake.next(T.spawn);
    fake.started(3);
    const written = new Promise((resolve) => piped.stdin?.write(big, resolve));
    await settled();
    fake.exit(3);
    await piped;
    expect(await written).toBeInstanceOf(Error);
  });
});

describe('ending a command', () => {
  test('by the signal: CANCEL, then ABORTED after the EXIT', async () => {
    const controller = new AbortController();
    const exec = agent.exec(['sleep', '9'], { signal: controller.signal });
    let settledWith: unknown;
    exec.then(undefined, (error: unknown) => {
      settledWith = error;
    });
    await fake.next(T.spawn);
    fake.started(1);
    controller.abort(new Error('user left'));
    await fake.next(T.cancel);
    await settled();
    expect(settledWith).toBeUndefined();
    fake.data(1, 1, 'last words');
    fake.exit(1, [[33, 9]]);
    await settled();
    expect(settledWith).toMatchObject({
      code: 'ABORTED',
      cause: { message: 'user left' },
      result: { stdout: 'last words', signal: 'SIGKILL' },
    });
    expect(await exec.exited).toMatchObject({ exitCode: 137 });
  });

  test('by a signal that is aborted already sends nothing', async () => {
    const exec = agent.exec(['x'], { signal: AbortSignal.abort(), stdin: 'pipe' });
    await expect(exec).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(exec.pid).rejects.toMatchObject({ code: 'ABORTED' });
    await exec.cancel();
    await settled();
    expect(fake.unread).toHaveLength(0);
  });

  test('by timeoutMs: TIMEOUT on the host’s clock, or when the agent was first', async () => {
    const late = agent.exec(['x'], { timeoutMs: 20 });
    const outcome = expect(late).rejects.toMatchObject({ code: 'TIMEOUT', result: { timedOut: true } });
    await fake.next(T.spawn);
    fake.started(1);
    await fake.next(T.cancel);
    fake.exit(1, [[33, 9]]);
    await outcome;
    expect((await late.exited).timedOut).toBe(true);

    const timed = agent.exec(['x'], { timeoutMs: 60_000 });
    await fake.next(T.spawn);
    fake.started(3);
    fake.exit(3, [
      [33, 9],
      [36, 1],
    ]);
    await expect(timed).rejects.toMatchObject({ code: 'TIMEOUT', result: { timedOut: true } });
  });

  test('gives credit back at once, as output that nobody takes must not hold up the EXIT', async () => {
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    fake.started(1);
    for (let i = 0; i < 8; i += 1) fake.data(1, 1, Buffer.alloc(WINDOW / 8));
    await settled();
    const cancelled = exec.cancel();
    await fake.next(T.cancel);
    expect((await fake.next(T.credit)).payload.readUInt32LE(1)).toBe(WINDOW);
    for (let i = 0; i < 8; i += 1) fake.data(1, 1, Buffer.alloc(WINDOW / 8));
    for (let i = 0; i < 4; i += 1) await fake.next(T.credit);
    fake.exit(1, [[33, 9]]);
    await cancelled;
    expect((await exec).stdoutBytes.length).toBe(WINDOW);
    await exec.cancel();
  });

  test('by a signal of its own', async () => {
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    const killing = exec.kill();
    await settled();
    expect(fake.unread).toHaveLength(0);
    fake.started(1);
    await killing;
    const { payload } = await fake.next(T.signal);
    expect([intField(payload, 33), intField(payload, 34)]).toEqual([15, undefined]);
    await exec.kill('SIGHUP', { tree: true });
    const tree = (await fake.next(T.signal)).payload;
    expect([intField(tree, 33), intField(tree, 34)]).toEqual([1, 1]);
    await exec.kill(64);
    await fake.next(T.signal);
    await expect(exec.kill('SIGNONE' as NodeJS.Signals)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(exec.kill('KILL' as NodeJS.Signals)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(exec.kill(0)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    fake.exit(1);
    await exec;
    await exec.kill();
    await settled();
    expect(fake.unread).toHaveLength(0);
  });

  test('resizes its terminal', async () => {
    const exec = agent.exec(['x'], { pty: true });
    expect(intField((await fake.next(T.spawn)).payload, 21)).toBe(24);
    exec.resize(40, 100);
    const { payload } = await fake.next(T.resize);
    expect([intField(payload, 21), intField(payload, 22)]).toEqual([40, 100]);
    expect(() => exec.resize(0, 1)).toThrow(/INVALID_ARGUMENT/);
    expect(() => agent.exec(['x']).resize(1, 1)).toThrow(/INVALID_STATE/);
  });

  describe('when no EXIT follows within 5 s', () => {
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    });
    afterEach(() => {
      vi.useRealTimers();
    });

    test('still rejects, and what comes later is dropped', async () => {
      const controller = new AbortController();
      const aborted = agent.exec(['x'], { signal: controller.signal });
      const cancelled = agent.exec(['y']);
      for (const stream of [1, 3]) {
        await fake.next(T.spawn);
        fake.started(stream);
      }
      await settled();
      controller.abort();
      const outcomes = [
        expect(aborted).rejects.toMatchObject({ code: 'ABORTED' }),
        expect(aborted.exited).rejects.toMatchObject({ code: 'ABORTED' }),
        expect(cancelled.cancel()).rejects.toMatchObject({ code: 'AGENT_FAILED' }),
        expect(cancelled).rejects.toMatchObject({ code: 'AGENT_FAILED' }),
      ];
      await settled();
      vi.advanceTimersByTime(4999);
      await settled();
      let over = false;
      void aborted.exited.catch(() => {
        over = true;
      });
      await settled();
      expect(over).toBe(false);
      vi.advanceTimersByTime(1);
      await Promise.all(outcomes);
      for (const stream of [1, 3]) {
        fake.data(stream, 1, 'late');
        fake.exit(stream, [[33, 9]]);
      }
      const ping = agent.ping();
      while ((await fake.next()).type !== T.ping);
      fake.send(T.pong, 0, Buffer.alloc(8));
      await ping;
    });
  });
});
