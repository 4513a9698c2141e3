import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ExecError, GuestAgent } from '../../../../src/guest/agent.ts';
import { type FakeAgent, T, connectFake, settled } from './fake-agent.ts';

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

describe('an awaited command', () => {
  test('gives its output, exit code and time', async () => {
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    fake.started(1, 77);
    fake.data(1, 1, 'out ü');
    fake.data(1, 2, 'err');
    fake.data(1, 1, '');
    fake.exit(1, [[35, 3]]);
    const result = await exec;
    expect(result).toMatchObject({ exitCode: 3, stdout: 'out ü', stderr: 'err', timedOut: false, oomKilled: false });
    expect(result).not.toHaveProperty('signal');
    expect(result.stdoutBytes).toEqual(Buffer.from('out ü'));
    expect(result.durationMs).toBeGreaterThan(0);
    expect(await exec.pid).toBe(77);
    expect(await exec.exited).toEqual({ exitCode: 3, timedOut: false, oomKilled: false });
    expect(await exec).toBe(result);
  });

  test('that a signal ended has 128+n and the name', async () => {
    const exec = agent.exec(['x'], { encoding: 'buffer' });
    await fake.next(T.spawn);
    fake.started(1);
    fake.data(1, 1, Buffer.from([0xff, 0]));
    fake.exit(1, [
      [33, 9],
      [37, 1],
    ]);
    const result = await exec;
    expect(result).toMatchObject({ exitCode: 137, signal: 'SIGKILL', oomKilled: true, stdout: '' });
    expect(result.stdoutBytes).toEqual(Buffer.from([0xff, 0]));
  });

  test('throws a non-zero exit only with check, the result in the error', async () => {
    const exec = agent.exec(['make'], { check: true });
    await fake.next(T.spawn);
    fake.started(1);
    fake.data(1, 2, 'no rule\u001b[31m to make\nstop.\n');
    fake.exit(1, [[35, 2]]);
    const error = await exec.then(
      () => undefined,
      (reason: unknown) => reason as ExecError,
    );
    expect(error).toMatchObject({
      code: 'NONZERO_EXIT',
      facts: { exitCode: 2, path: 'make', log: 'no rule [31m to make\nstop.' },
    });
    expect(error?.result.exitCode).toBe(2);
    expect((await exec.exited).exitCode).toBe(2);
  });

  test('that writes more than maxOutputBytes is ended with OUTPUT_LIMIT', async () => {
    const exec = agent.exec(['yes'], { maxOutputBytes: 10 });
    const outcome = expect(exec).rejects.toMatchObject({
      code: 'OUTPUT_LIMIT',
      result: { stdout: '0123456789', exitCode: 137 },
    });
    await fake.next(T.spawn);
    fake.started(1);
    fake.data(1, 1, '01234567');
    await settled();
    expect(fake.unread).toHaveLength(0);
    fake.data(1, 1, '89abc');
    await fake.next(T.cancel);
    fake.exit(1, [[33, 9]]);
    await outcome;
  });

  test('may write just maxOutputBytes, also when awaited after its end', async () => {
    for (const [limit, code] of [
      [5, undefined],
      [4, 'OUTPUT_LIMIT'],
    ] as const) {
      const exec = agent.exec(['x'], { maxOutputBytes: limit });
      const { stream } = await fake.next(T.spawn);
      fake.started(stream);
      fake.data(stream, 1, '01234');
      fake.exit(stream);
      await exec.exited;
      if (code === undefined) expect((await exec).stdout).toBe('01234');
      else await expect(exec).rejects.toMatchObject({ code });
    }
  });

  test('gets credit in batches as its output is collected', async () => {
    const exec = agent.exec(['x']);
    const done = exec.then((it) => it.stdoutBytes.length);
    const { stream } = await fake.next(T.spawn);
    fake.started(stream);
    let credit = WINDOW;
    let sent = 0;
    let grants = 0;
    const total = 3_000_000;
    while (sent < total) {
      const size = Math.min(50_000, credit, total - sent);
      if (size > 0) {
        fake.data(stream, 1, Buffer.alloc(size, 0x61));
        sent += size;
        credit -= size;
      }
      await settled();
      while (fake.unread.length > 0) {
        const { payload } = await fake.next(T.credit);
        expect(payload[0]).toBe(1);
        credit += payload.readUInt32LE(1);
        grants += 1;
      }
      expect(credit).toBeLessThanOrEqual(WINDOW);
    }
    expect(grants).toBeLessThan(50);
    fake.exit(stream);
    expect(await done).toBe(total);
  });
});

describe('output that nobody takes', () => {
  test('gets no credit, and can still be taken later', async () => {
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    fake.started(1);
    for (let i = 0; i < 8; i += 1) fake.data(1, 1, Buffer.alloc(WINDOW / 8, 0x30 + i));
    await settled();
    expect(fake.unread).toHaveLength(0);
    const result = exec.then((it) => it.stdout.length);
    let back = 0;
    while (back < WINDOW) back += (await fake.next(T.credit)).payload.readUInt32LE(1);
    fake.exit(1);
    expect(await result).toBe(WINDOW);
  });

  test('beyond its credit ends the session', async () => {
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    fake.started(1);
    for (let i = 0; i < 8; i += 1) fake.data(1, 1, Buffer.alloc(WINDOW / 8));
    fake.data(1, 2, 'fine');
    fake.data(1, 1, 'x');
    await expect(exec.exited).rejects.toMatchObject({
      code: 'AGENT_PROTOCOL',
      message: expect.stringContaining('credit'),
    });
    expect(await agent.closed).toMatchObject({ code: 'AGENT_PROTOCOL' });
  });

  test('in single bytes is held in few objects', async () => {
    const exec = agent.exec(['x']);
    await fake.next(T.spawn);
    fake.started(1);
    const one = Buffer.concat([Buffer.from([0xa5, T.data, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0x61])]);
    const two = Buffer.from(one);
    two[12] = 2;
    const many = Buffer.concat(Array.from({ length: WINDOW }, () => [one, two]).flat());
    fake.raw(many);
    await settled();
    const pieces: number[] = [];
    const iterate = async (): Promise<void> => {
      for await (const { data } of exec) pieces.push(data.length);
    };
    const iterating = iterate();
    fake.exit(1);
    await iterating;
    expect(pieces.reduce((sum, length) => sum + length, 0)).toBe(2 * WINDOW);
    expect(pieces.length).toBeLessThan(3000);
  });
});

describe('an iterated command', () => {
  test('gives both outputs in order, with back-pressure', async () => {
    const exec = agent.exec(['x']);
    const iterator = exec[Symbol.asyncIterator]();
    await fake.next(T.spawn);
    fake.started(1);
    const big = Buffer.alloc(60_000, 0x61);
    const sent = [1, 1, 2, 1, 1] as const;
    for (const channel of sent) fake.data(1, channel, big);
    await settled();
    expect(fake.unread).toHaveLength(0);
    for (const channel of sent.slice(0, 4)) {
      const { value } = await iterator.next();
      expect(value).toMatchObject({ stream: channel === 1 ? 'stdout' : 'stderr' });
      expect(value?.data.length).toBe(60_000);
    }
    expect((await fake.next(T.credit)).payload).toEqual(Buffer.from([1, 0xc0, 0xd4, 1, 0]));
    fake.exit(1, [[35, 1]]);
    expect((await iterator.next()).value?.stream).toBe('stdout');
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    expect(await exec).toMatchObject({ exitCode: 1, stdout: '' });
  });

  test('is ended when the iteration is', async () => {
    const exec = agent.exec(['tail', '-f', 'log']);
    const first = async (): Promise<string> => {
      for await (const { data } of exec) return data.toString();
      return 'nothing';
    };
    const result = first();
    await fake.next(T.spawn);
    fake.started(1);
    fake.data(1, 1, 'line');
    await fake.next(T.cancel);
    fake.exit(1, [[33, 9]]);
    expect(await result).toBe('line');
    expect((await exec).signal).toBe('SIGKILL');
  });

  test('throws at its end what awaiting it throws', async () => {
    const exec = agent.exec(['x'], { check: true });
    const collect = async (): Promise<void> => {
      for await (const { stream } of exec) expect(stream).toBe('stdout');
    };
    const outcome = expect(collect()).rejects.toMatchObject({ code: 'NONZERO_EXIT' });
    await fake.next(T.spawn);
    fake.started(1);
    fake.data(1, 1, 'x');
    fake.exit(1, [[35, 1]]);
    await outcome;
    expect(() => exec.stdout).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }));
    expect(() => exec[Symbol.asyncIterator]()).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }));
  });
});

describe('the streams of a command', () => {
  test('give credit only as they are read, and leave the rest to the await', async () => {
    const exec = agent.exec(['x']);
    const { stdout } = exec;
    const result = exec.then((it) => it);
    await fake.next(T.spawn);
    fake.started(1);
    for (let i = 0; i < 8; i += 1) fake.data(1, 1, Buffer.alloc(WINDOW / 8));
    fake.data(1, 2, 'err');
    await settled();
    expect(fake.unread).toHaveLength(0);
    let length = 0;
    stdout.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    let back = 0;
    while (back < WINDOW) back += (await fake.next(T.credit)).payload.readUInt32LE(1);
    fake.exit(1);
    expect(await result).toMatchObject({ stdout: '', stderr: 'err' });
    await finished(stdout);
    expect(length).toBe(WINDOW);
  });

  test('that are destroyed let the command go on', async () => {
    const exec = agent.exec(['x']);
    exec.stdout.destroy();
    const result = exec.then((it) => it);
    await fake.next(T.spawn);
    fake.started(1);
    for (let i = 0; i < 8; i += 1) {
      fake.data(1, 1, Buffer.alloc(WINDOW / 8));
      fake.data(1, 1, Buffer.alloc(WINDOW / 8));
      expect((await fake.next(T.credit)).payload[0]).toBe(1);
    }
    fake.exit(1);
    expect(await result).toMatchObject({ exitCode: 0, stdout: '' });
  });

  test('end with an error nobody must listen to when the channel is lost', async () => {
    const exec = agent.exec(['x'], { stdin: 'pipe' });
    const { stdout, stderr, stdin } = exec;
    stdout.resume();
    await fake.next(T.spawn);
    fake.started(1);
    fake.guest.end();
    await expect(finished(stdout)).rejects.toMatchObject({ code: 'AGENT_GONE' });
    stderr.resume();
    await expect(finished(stderr)).rejects.toMatchObject({ code: 'AGENT_GONE' });
    expect(stdin?.destroyed).toBe(true);
  });
});
