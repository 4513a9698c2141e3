import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { GuestAgent } from '../../../src/guest/agent.ts';
import { type Guest, startGuest } from './host-agent.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const binary = path.join(root, 'dist/guest/polyvisor-agent');

/** Waits until a process of that id is gone, or is a zombie of somebody else. */
async function gone(pid: number): Promise<void> {
  // A process that isn't our child tells nobody that it ends.
  for (let i = 0; existsSync(`/proc/${pid}/cwd`); i += 1) {
    if (i > 300) throw new Error(`process ${pid} is still there`);
    await sleep(10);
  }
}

let guest: Guest;
let agent: GuestAgent;

beforeAll(async () => {
  if (!existsSync(binary)) execFileSync(path.join(root, 'scripts/build-agent'), { stdio: 'inherit' });
  guest = await startGuest();
});
afterAll(() => guest.stop());
beforeEach(async () => {
  agent = await guest.connect();
});
afterEach(() => agent.close());

test('says what it can do', async () => {
  expect([...agent.features]).toEqual(expect.arrayContaining(['spawn', 'pty', 'signal', 'sync', 'info', 'poweroff']));
  expect(agent.version).toMatch(/^\d/);
  expect(agent.bootId).toMatch(/^[0-9a-f-]{36}$/);
  await agent.ping();
  await agent.sync({ entropy: randomBytes(64), clockNs: BigInt(Date.now()) * 1_000_000n, hostname: 'box' });
  const info = await agent.info();
  expect(info.memoryTotalBytes).toBeGreaterThan(info.memoryAvailableBytes);
  expect(info.cpusOnline).toBeGreaterThan(0);
  expect(info.uptimeMs).toBeGreaterThan(0);
  expect(info.reseeds).toBe(1);
  expect(info.processes).toBe(0);
});

describe('a command', () => {
  test('runs with its arguments, folder and environment', async () => {
    const result = await agent.exec(
      ['/bin/sh', '-c', 'echo "$1|$PWD|$A|$HOME"; echo oops >&2; exit 3', 'sh', "a 'b' ü"],
      {
        cwd: '/tmp',
        env: { A: 'x=y\nz' },
      },
    );
    expect(result).toMatchObject({
      exitCode: 3,
      stdout: `a 'b' ü|/tmp|x=y\nz|${os.userInfo().homedir}\n`,
      stderr: 'oops\n',
    });
    expect((await agent.exec('exit 7')).exitCode).toBe(7);
    await expect(agent.exec('echo no >&2; exit 1', { check: true })).rejects.toMatchObject({
      code: 'NONZERO_EXIT',
      facts: { log: 'no' },
    });
  });

  test('runs as another user', async () => {
    const other = agent.exec(['id', '-u'], { user: 'nobody', cwd: '/' });
    // Only root may become another.
    if (os.userInfo().uid === 0) expect((await other).stdout).toBe('65534\n');
    else await expect(other).rejects.toMatchObject({ code: 'EXEC_FAILED' });
    await expect(agent.exec(['id'], { user: 'no-such-user' })).rejects.toMatchObject({
      code: 'EXEC_FAILED',
      facts: { errno: 'EINVAL' },
    });
  });

  test('that is missing, or not executable, or has no folder', async () => {
    await expect(agent.exec(['no-such-program'])).rejects.toMatchObject({
      code: 'GUEST_NOT_FOUND',
      facts: { path: 'no-such-program' },
    });
    await expect(agent.exec(['/etc/passwd'])).rejects.toMatchObject({
      code: 'GUEST_NOT_EXECUTABLE',
      facts: { errno: 'EACCES' },
    });
    await expect(agent.exec(['true'], { cwd: '/no/such' })).rejects.toMatchObject({
      code: 'EXEC_FAILED',
      facts: { errno: 'ENOENT' },
    });
  });

  test.each([0, 10, 65_535, 65_536, 3_000_000])('takes %i bytes of input and gives them back', async (length) => {
    const input = randomBytes(length);
    const { stdoutBytes } = await agent.exec(['cat'], { stdin: input, encoding: 'buffer' });
    expect(stdoutBytes.equals(input)).toBe(true);
  });

  test('is spoken with', async () => {
    const exec = agent.exec(['cat'], { stdin: 'pipe' });
    const got: string[] = [];
    exec.stdin?.write('line 0');
    for await (const { stream, data } of exec) {
      expect(stream).toBe('stdout');
      got.push(data.toString());
      if (got.length < 3) exec.stdin?.write(`line ${got.length}`);
      else exec.stdin?.end();
    }
    expect(got).toEqual(['line 0', 'line 1', 'line 2']);
  });

  test('that is not read waits, and goes on when it is', async () => {
    const exec = agent.exec('head -c 2000000 /dev/zero; echo done >&2');
    await exec.pid;
    await agent.ping();
    let length = 0;
    let done = '';
    for await (const { stream, data } of exec) {
      if (stream === 'stdout') length += data.length;
      else done += data.toString();
    }
    expect([length, done]).toEqual([2_000_000, 'done\n']);
  });

  test('that writes too much is ended', async () => {
    await expect(agent.exec(['yes'], { maxOutputBytes: 100_000 })).rejects.toMatchObject({
      code: 'OUTPUT_LIMIT',
      result: { signal: 'SIGKILL' },
    });
  });

  test('has a terminal of the size that was asked, and a new one', async () => {
    const exec = agent.exec('stty size; read line; stty size; echo "$TERM"', {
      pty: { rows: 33, cols: 77 },
      stdin: 'pipe',
    });
    let text = '';
    for await (const { data } of exec) {
      text += data.toString();
      if (text === '33 77\r\n') {
        exec.resize(44, 88);
        exec.stdin?.write('\n');
      }
    }
    expect(text).toMatch(/^33 77\r\n\r\n44 88\r\n\S+\r\n$/);
  });

  test('is ended with its whole tree by cancel, signal, time and the end of an iteration', async () => {
    const tree = 'sleep 600 & echo $!; setsid sleep 600 & echo $!; wait';
    const ends: ((exec: ReturnType<GuestAgent['exec']>, controller: AbortController) => Promise<unknown>)[] = [
      async (exec) => await exec.cancel(),
      async (exec, controller) => {
        controller.abort();
        await expect(exec).rejects.toMatchObject({ code: 'ABORTED' });
      },
      async (exec) => await expect(exec).rejects.toMatchObject({ code: 'TIMEOUT', result: { timedOut: true } }),
    ];
    for (const [index, end] of ends.entries()) {
      const controller = new AbortController();
      const exec = agent.exec(tree, { signal: controller.signal, timeoutMs: index === 2 ? 500 : undefined });
      const { stdout } = exec;
      let text = '';
      // One listener throughout: both lines may come in one tick.
      await new Promise<void>((resolve) => {
        stdout.on('data', (data) => {
          text += String(data);
          if (text.split('\n').length >= 3) resolve();
        });
      });
      await end(exec, controller);
      expect(await exec.exited).toMatchObject({ signal: 'SIGKILL', exitCode: 137 });
      for (const pid of text.trim().split('\n')) await gone(Number(pid));
    }
    let pid = 0;
    for await (const { data } of agent.exec('echo $$; sleep 600')) {
      pid = Number(data.toString());
      break;
    }
    await gone(pid);
    expect((await agent.info()).processes).toBe(0);
  });

  test('that is cancelled while its output is stuck still ends', async () => {
    const exec = agent.exec(['yes']);
    await exec.pid;
    await agent.ping();
    await exec.cancel();
    expect((await exec).signal).toBe('SIGKILL');
  });

  test('gets signals', async () => {
    const exec = agent.exec("trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.01; done");
    for await (const { data } of exec) if (data.toString() === 'ready\n') await exec.kill('SIGUSR1');
    expect((await exec).exitCode).toBe(5);
    const sleeper = agent.exec(['sleep', '600']);
    await sleeper.kill();
    expect(await sleeper).toMatchObject({ exitCode: 143, signal: 'SIGTERM' });
  });

  test('one of many at once', async () => {
    const results = await Promise.all(Array.from({ length: 60 }, (_, i) => agent.exec(`echo ${i}; exit ${i}`)));
    expect(results.map((it) => [it.exitCode, it.stdout])).toEqual(results.map((_, i) => [i, `${i}\n`]));
  });
});

describe('sessions', () => {
  test('on two channels are independent', async () => {
    const other = await guest.connect(1);
    const mine = agent.exec(['sleep', '600']);
    const theirs = other.exec('read x; echo "$x"', { stdin: 'pipe' });
    await mine.pid;
    await theirs.pid;
    await agent.close();
    await expect(mine).rejects.toMatchObject({ code: 'AGENT_GONE' });
    await gone(await mine.pid);
    theirs.stdin?.end('hello\n');
    expect((await theirs).stdout).toBe('hello\n');
    await other.close();
  });

  test('end their commands, but not those that are detached', async () => {
    const detached = agent.exec(['sleep', '600'], { detach: true });
    const pid = await detached.pid;
    await agent.close();
    agent = await guest.connect(0, false);
    expect(existsSync(`/proc/${pid}/cwd`)).toBe(true);
    expect((await agent.info()).processes).toBe(1);
    await agent.exec(['kill', String(pid)]);
    await gone(pid);
  });

  test('end when the agent does, with all that is open', async () => {
    const own = await startGuest();
    try {
      const session = await own.connect();
      const exec = session.exec(['sleep', '600']);
      const pid = await exec.pid;
      own.process.kill('SIGKILL');
      await expect(exec).rejects.toMatchObject({ code: 'AGENT_GONE' });
      expect(await session.closed).toMatchObject({ code: 'AGENT_GONE' });
      await gone(pid).catch(() => process.kill(pid, 'SIGKILL'));
    } finally {
      await own.stop();
    }
  });

  test('power the guest off', async () => {
    const own = await startGuest();
    try {
      const session = await own.connect();
      const exited = once(own.process, 'exit');
      await session.powerOff();
      await exited;
      await session.close();
    } finally {
      await own.stop();
    }
  });
});
