import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { isAlive } from '../../../../src/state/process-identity.ts';
import { Keeper } from '../../../../src/transports/process/keeper.ts';
import { launch, type LaunchOptions } from '../../../../src/transports/process/launch.ts';
import { pidsNaming, shells, startOwner, until, workspace } from './workspace.ts';

const at = workspace();

/** In a folder that is still to be made. */
function options(more: Partial<LaunchOptions> = {}): LaunchOptions {
  const all = at.options(['sleep', '100'], { prune: ['touch', at.file('pruned')], ...more });
  const files = ['lease', 'alive', 'exitFile', 'startFile', 'stdout', 'stderr'] as const;
  const inside = Object.fromEntries(files.map((name) => [name, at.file(`vm/${path.basename(all[name])}`)]));
  return { ...all, ...inside };
}

const keepers = (): number[] => pidsNaming(at.folder);

/** The keeper, when it catches signals. */
async function keeperPid(): Promise<number | undefined> {
  const wanted = [1, 2, 15].reduce((mask, signal) => mask | (1 << (signal - 1)), 0);
  const catches = (pid: number | undefined): boolean => {
    const mask = /^SigCgt:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    return (Number.parseInt(mask.slice(-8), 16) & wanted) === wanted;
  };
  await until('it waits', () => keepers().length === 1 && catches(keepers()[0]));
  return keepers()[0];
}

describe.each(Object.entries(shells))('under %s', (_, shell) => {
  test('it begins before there is a folder, and starts its program there', async () => {
    const keeper = await Keeper.begin(options({ shell }));
    expect(keeper.waits).toBe(true);
    mkdirSync(at.file('vm'));
    const launched = await keeper.launch({ argv: ['sh', '-c', 'echo hello; exit 3'] });
    expect(keeper.waits).toBe(false);
    expect(await launched.waitExit()).toEqual({ code: 3 });
    expect(at.read('vm/log')).toBe('hello\n');
    expect(readdirSync(at.file('vm')).toSorted()).toEqual(['alive', 'exit', 'lease', 'log']);
  });

  test('an owner that is killed before there is a folder', async () => {
    const { process: owner, next } = startOwner(options({ shell, cwd: 'never' }), 'begins');
    expect(await next()).toBe('begun');
    owner.kill('SIGKILL');
    await until('it is pruned', () => existsSync(at.file('pruned')));
    await until('no process is left', () => keepers().length === 0);
  });

  test('an owner that is killed before there is a program', async () => {
    const { process: owner, next } = startOwner(options({ shell }), 'begins');
    expect([await next(), await next()]).toEqual(['begun', 'settled']);
    owner.kill('SIGKILL');
    await until('it is pruned', () => existsSync(at.file('pruned')));
    await until('no process is left', () => keepers().length === 0);
  });

  test('signals leave it where it is, while it waits', async () => {
    const keeper = await Keeper.begin(options({ shell }));
    const pid = (await keeperPid()) ?? 0;
    const state = (): string => readdirSync(`/proc/${pid}/task`).join();
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
      process.kill(pid, signal);
      expect(state()).toBe(`${pid}`);
    }
    mkdirSync(at.file('vm'));
    const launched = await keeper.launch({ argv: ['true'] });
    expect(launched.keeper?.pid).toBe(pid);
    expect(await launched.waitExit()).toEqual({ code: 0 });
  });

  test.each(['no folder', 'a folder'])('given up with %s, nothing is pruned and no process is left', async (what) => {
    for (let round = 0; round < 5; round++) {
      const keeper = await Keeper.begin(options({ shell }));
      if (what === 'a folder') {
        mkdirSync(at.file('vm'), { recursive: true });
        keeper.settle();
      }
      await keeper.end();
      await keeper.end();
      expect(keeper.waits).toBe(false);
      await until('no process is left', () => keepers().length === 0);
    }
    expect(existsSync(at.file('pruned'))).toBe(false);
  });
});

test('its second part can not be run: the launch says so, and no process is left', async () => {
  const keeper = await Keeper.begin(options({ keeperThrough: ['/bin/false'] }));
  mkdirSync(at.file('vm'));
  await expect(keeper.launch({ argv: ['true'] })).rejects.toMatchObject({ code: 'START_FAILED' });
  await until('no process is left', () => keepers().length === 0);
});

test('there is no such folder when it is told so', async () => {
  const keeper = await Keeper.begin(options());
  await expect(keeper.launch({ argv: ['true'] })).rejects.toMatchObject({ code: 'IO', facts: { errno: 'ENOENT' } });
  await until('no process is left', () => keepers().length === 0);
});

test('there is no such shell', async () => {
  await expect(Keeper.begin(options({ shell: ['/no/shell'] }))).rejects.toMatchObject({
    code: 'START_FAILED',
    facts: { errno: 'ENOENT' },
  });
});

test('one that waits does not disturb another one that has the same folder since', async () => {
  const waiting = await Keeper.begin(options());
  mkdirSync(at.file('vm'));
  waiting.settle();
  await until('it has its lease', () => existsSync(at.file('vm/alive')));
  const launched = await launch(options());
  await waiting.end();
  await launched.release();
  expect(await launched.waitExit()).toEqual({ signal: 'SIGKILL', by: 'lease' });
  expect(existsSync(at.file('pruned'))).toBe(true);
});

test('one that was killed does not wait', async () => {
  const keeper = await Keeper.begin(options());
  process.kill((await keeperPid()) ?? 0, 'SIGKILL');
  await until('it is known to be gone', () => !keeper.waits);
  await keeper.end();
});

test('it keeps one program', async () => {
  const keeper = await Keeper.begin(options());
  mkdirSync(at.file('vm'));
  const launched = await keeper.launch({ argv: ['sleep', '100'] });
  await expect(keeper.launch({ argv: ['true'] })).rejects.toMatchObject({ code: 'INTERNAL' });
  // Not an end to what runs.
  await keeper.end();
  expect(isAlive(launched.identity)).toBe(true);
  await launched.end();
});
