import { PassThrough, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ExecError, ExecOptions, GuestAgent } from '../../../../src/guest/agent.ts';
import { FakeAgent, HELLO, T, connectFake, intField, readFields, settled, textFields } from './fake-agent.ts';

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

describe('SPAWN', () => {
  test('carries all that was asked', async () => {
    const exec = agent.exec(['make', '', 'ünit'], {
      cwd: '/src',
      env: { A: '1', 'B.c': 'x=y', EMPTY: '' },
      user: 'build:staff',
      pty: { rows: 50, cols: 132 },
      timeoutMs: 9000,
      maxPids: 64,
      maxMemoryMiB: 128,
      stdin: 'pipe',
    });
    const { payload, stream } = await fake.next(T.spawn);
    expect(stream).toBe(1);
    expect(textFields(payload, 16)).toEqual(['make', '', 'ünit']);
    expect(textFields(payload, 17)).toEqual(['A=1', 'B.c=x=y', 'EMPTY=']);
    expect(textFields(payload, 18)).toEqual(['/src']);
    expect(textFields(payload, 19)).toEqual(['build:staff']);
    expect([20, 21, 22, 23, 24, 25, 26, 27, 28].map((tag) => intField(payload, tag))).toEqual([
      1,
      50,
      132,
      1,
      undefined,
      9000,
      64,
      128 * 1024 * 1024,
      WINDOW,
    ]);
    fake.started(1);
    fake.exit(1);
    expect((await exec).exitCode).toBe(0);
  });

  test('leaves out what was not asked, and gives a string to the shell', async () => {
    const exec = agent.exec('echo $HOME');
    const { payload } = await fake.next(T.spawn);
    expect(textFields(payload, 16)).toEqual(['/bin/sh', '-c', 'echo $HOME']);
    expect(readFields(payload).map((it) => it.tag)).toEqual([16, 16, 16, 28]);
    fake.started(1);
    fake.exit(1);
    await exec;
  });

  test('takes small input along in the same write', async () => {
    fake.writes.length = 0;
    const exec = agent.exec(['cat'], { stdin: 'some input' });
    await fake.next(T.spawn);
    expect((await fake.next(T.data)).payload.toString()).toBe('\0some input');
    expect((await fake.next(T.data)).payload).toEqual(Buffer.from([0]));
    expect(fake.writes).toHaveLength(1);
    fake.started(1);
    fake.exit(1);
    await exec;
  });
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
});

describe('a command that cannot be started', () => {
  const errnos: [number, string, string, string][] = [
    [2, 'nope: No such file or directory', 'GUEST_NOT_FOUND', 'ENOENT'],
    [13, '/etc/passwd: Permission denied', 'GUEST_NOT_EXECUTABLE', 'EACCES'],
    [2, 'working folder /nope: No such file or directory', 'EXEC_FAILED', 'ENOENT'],
    [13, 'working folder /root: Permission denied', 'EXEC_FAILED', 'EACCES'],
    [22, 'no such user: nobody2', 'EXEC_FAILED', 'EINVAL'],
    [38, 'not here', 'UNSUPPORTED', 'ENOSYS'],
  ];
  test.each(errnos)('errno %i (%s) is %s', async (errno, message, code, name) => {
    const exec = agent.exec(['nope', 'secret-arg'], { env: { PASSWORD: 'hunter2' }, check: true });
    await fake.next(T.spawn);
    fake.fields(T.error, 1, [
      [5, errno],
      [6, `${message}\u001b]0;title\u0007`],
    ]);
    const error = await exec.then(
      () => undefined,
      (reason: unknown) => reason as ExecError,
    );
    expect(error).toMatchObject({ code, facts: { errno: name, path: 'nope', operation: 'exec' } });
    expect(error?.message).toContain(message);
    // oxlint-disable-next-line no-control-regex
    expect(JSON.stringify([error?.message, error?.facts])).not.toMatch(/hunter2|[\u0000-\u001f]/);
    await expect(exec.pid).rejects.toBe(error);
    await expect(exec.exited).rejects.toBe(error);
    await exec.cancel();
  });

  test('because the agent lacks what an option needs', async () => {
    const poor = await connectFake(
      {},
      HELLO.map(([tag, value]) => [tag, tag === 2 ? 'spawn' : value] as const),
    );
    for (const options of [{ pty: true }, { maxPids: 5 }, { maxMemoryMiB: 64 }]) {
      await expect(poor.agent.exec(['x'], options)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    }
    expect(poor.fake.unread).toHaveLength(0);
    await poor.agent.close();
  });

  test('because 256 are open', async () => {
    const execs = Array.from({ length: 256 }, () => agent.exec(['x']));
    await expect(agent.exec(['x'])).rejects.toMatchObject({ code: 'BUSY' });
    await settled();
    fake.started(1);
    fake.exit(1);
    await execs[0];
    const more = agent.exec(['x']);
    await settled();
    fake.started(513);
    fake.exit(513);
    expect((await more).exitCode).toBe(0);
  });
});

describe('arguments that are refused at once', () => {
  const wrong: [string, string | readonly string[], ExecOptions][] = [
    ['an empty argv', [], {}],
    ['an empty program', [''], {}],
    ['an empty shell string', '', {}],
    ['NUL in an argument', ['x', 'a\0b'], {}],
    ['an argument of another type', ['x', 5 as unknown as string], {}],
    ['a command of another type', 5 as unknown as string, {}],
    ['an empty name of a variable', ['x'], { env: { '': 'x' } }],
    ['a name with an equals sign', ['x'], { env: { 'A=B': 'x' } }],
    ['NUL in a value', ['x'], { env: { SECRET: 'hunter2\0' } }],
    ['a value of another type', ['x'], { env: { SECRET: undefined as unknown as string } }],
    ['a fraction of a millisecond', ['x'], { timeoutMs: 1.5 }],
    ['no time', ['x'], { timeoutMs: 0 }],
    ['a negative limit', ['x'], { maxOutputBytes: -1 }],
    ['half a process', ['x'], { maxPids: 0.5 }],
    ['no memory', ['x'], { maxMemoryMiB: 0 }],
    ['a terminal without rows', ['x'], { pty: { cols: 80 } as { rows: number; cols: number } }],
    ['a terminal of 0 columns', ['x'], { pty: { rows: 1, cols: 0 } }],
    ['an unknown encoding', ['x'], { encoding: 'latin1' as 'utf8' }],
    ['an unknown input', ['x'], { stdin: 5 as unknown as string }],
    ['an empty folder', ['x'], { cwd: '' }],
    ['input of a detached command', ['x'], { detach: true, stdin: 'x' }],
    ['a terminal of a detached command', ['x'], { detach: true, pty: true }],
    ['arguments beyond a frame', ['x', 'y'.repeat(70_000)], {}],
  ];
  test.each(wrong)('%s', async (_, command, options) => {
    expect(() => agent.exec(command, options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    try {
      agent.exec(command, options);
    } catch (error) {
      expect(String(error)).not.toContain('hunter2');
    }
    await settled();
    expect(fake.unread).toHaveLength(0);
  });
});
