import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ExecError, ExecOptions, GuestAgent } from '../../../../src/guest/agent.ts';
import { type FakeAgent, HELLO, T, connectFake, intField, readFields, settled, textFields } from './fake-agent.ts';

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
