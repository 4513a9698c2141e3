import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { expectNothingLeft } from '../../support/leaks.ts';
import { takeSnapshot, type Territory } from '../../support/snapshot.ts';

let territory: Territory;
const undo: (() => unknown)[] = [];

beforeEach(() => {
  const root = mkdtempSync(path.join(tmpdir(), 'leaks-'));
  territory = { root, home: path.join(root, 'home'), tmp: path.join(root, 'tmp') };
  mkdirSync(territory.home);
  mkdirSync(territory.tmp);
});

afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
  rmSync(territory.root, { recursive: true });
});

/** What the fixture says about a test that does `leak` and ends. */
async function verdictAfter(leak: () => unknown, deadlineMs = 100): Promise<string> {
  const before = takeSnapshot(territory);
  await leak();
  return expectNothingLeft(territory, before, { allow: false, deadlineMs }).then(
    () => 'nothing',
    (error: Error) => error.message,
  );
}

function start(
  command: string,
  args: string[],
  options: { detached?: boolean; env?: NodeJS.ProcessEnv } = {},
): ChildProcess {
  const child = spawn(command, args, { stdio: 'ignore', ...options });
  undo.push(async () => {
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    child.kill('SIGKILL');
    await ended;
  });
  return child;
}

describe('the leak fixture', () => {
  test('passes a test that leaves nothing', async () => {
    const verdict = await verdictAfter(() => {
      const file = path.join(territory.home, 'here-and-gone');
      writeFileSync(file, '');
      rmSync(file);
    });
    expect(verdict).toBe('nothing');
  });

  test('waits for what is about to end', async () => {
    const verdict = await verdictAfter(() => void start('sleep', ['0.2']), 2000);
    expect(verdict).toBe('nothing');
  });

  test('names a child process', async () => {
    const verdict = await verdictAfter(() => void start('sleep', ['30']));
    expect(verdict).toMatch(/process left behind: \d+ sleep 30/);
  });

  test('names an orphan that only its environment gives away', async () => {
    let pid = 0;
    const verdict = await verdictAfter(() => {
      const env = { ...process.env, POLYVISOR_HOME: territory.home };
      const shell = spawnSync('setsid', ['sh', '-c', 'sleep 31 >/dev/null 2>&1 & echo $!'], { env, encoding: 'utf8' });
      pid = Number(shell.stdout);
      undo.push(() => process.kill(pid, 'SIGKILL'));
    });
    expect(pid).toBeGreaterThan(1);
    expect(verdict).toContain(`process left behind: ${pid} sleep 31`);
  });

  test('takes a zombie for dead', async () => {
    const verdict = await verdictAfter(async () => {
      // The shell becomes a sleep that never waits for its first child: that one stays a zombie.
      const child = start('sh', ['-c', 'true & exec sleep 0.3']);
      await once(child, 'spawn');
    }, 2000);
    expect(verdict).toBe('nothing');
  });

  test('names a process that a test ended though it was there before', async () => {
    const child = start('sleep', ['32']);
    await once(child, 'spawn');
    const verdict = await verdictAfter(async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    expect(verdict).toMatch(/process gone: \d+ /);
  });

  test('names an open descriptor', async () => {
    const file = path.join(territory.tmp, 'open');
    writeFileSync(file, '');
    const verdict = await verdictAfter(() => {
      const fd = openSync(file, 'r');
      undo.push(() => closeSync(fd));
    });
    expect(verdict).toContain(`-> ${file}`);
    expect(verdict).toContain('descriptor left behind');
  });

  test('names a second descriptor of a file that was open already', async () => {
    const file = path.join(territory.tmp, 'open-twice');
    writeFileSync(file, '');
    const first = openSync(file, 'r');
    undo.push(() => closeSync(first));
    const verdict = await verdictAfter(() => {
      const second = openSync(file, 'r');
      undo.push(() => closeSync(second));
    });
    expect(verdict).toContain('descriptor left behind');
  });

  test.each([
    ['a path', () => path.join(territory.home, 'socket')],
    ['an abstract name', () => `\0polyvisor-leak-${process.pid}`],
  ])('names a unix socket with %s', async (_, address) => {
    const verdict = await verdictAfter(async () => {
      const server = net.createServer();
      server.listen(address());
      await once(server, 'listening');
      undo.push(() => new Promise((resolve) => server.close(resolve)));
    });
    expect(verdict).toContain(`socket left behind: ${address().replace('\0', '@')}`);
  });

  test.each([
    ['in POLYVISOR_HOME', () => path.join(territory.home, 'left.json')],
    ['in the folder of temporary files', () => path.join(territory.tmp, 'polyvisor-left')],
  ])('names a file %s', async (_, file) => {
    const verdict = await verdictAfter(() => writeFileSync(file(), ''));
    expect(verdict).toContain(`file left behind: ${file()}`);
  });

  test('names a file that is gone', async () => {
    const file = path.join(territory.home, 'state.json');
    writeFileSync(file, '');
    expect(await verdictAfter(() => rmSync(file))).toContain(`file gone: ${file}`);
  });

  test('names a mount', async (context) => {
    const target = path.join(territory.home, 'mnt');
    mkdirSync(target);
    let mounted = false;
    undo.push(() => mounted && spawnSync('umount', [target]));
    const verdict = await verdictAfter(() => {
      mounted = spawnSync('mount', ['-t', 'tmpfs', 'polyvisor-test', target]).status === 0;
    });
    if (!mounted) context.skip('mounting needs root');
    expect(verdict).toMatch(/mount left behind: .*polyvisor-test/);
    expect(verdict).toContain(target);
  });
});
