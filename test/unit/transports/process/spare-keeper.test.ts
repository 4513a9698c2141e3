import { existsSync, mkdirSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { identify } from '../../../../src/state/process-identity.ts';
import type { Keeper, KeeperOptions } from '../../../../src/transports/process/keeper.ts';
import { endSpare, expectNext, takeKeeper } from '../../../../src/transports/process/spare-keeper.ts';
import { pidsNaming, startOwner, until, workspace } from './workspace.ts';

const at = workspace();
const taken: Keeper[] = [];
afterEach(async () => {
  for (const keeper of taken.splice(0)) await keeper.end();
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

/** Those of a VM: its folder and the prune command's last word are its own. */
function options(vm: string, more: Partial<KeeperOptions> = {}): KeeperOptions {
  mkdirSync(at.file(vm), { recursive: true });
  const file = (name: string): string => at.file(`${vm}/${name}`);
  return {
    lease: file('lease'),
    alive: file('alive'),
    exitFile: file('exit'),
    startFile: file('start'),
    stdout: file('log'),
    stderr: file('log'),
    prune: ['touch', at.file('pruned')],
    about: at.file(`pruned-${vm}`),
    ...more,
  };
}

async function take(vm: string, more: Partial<KeeperOptions> = {}): Promise<Keeper> {
  const keeper = await takeKeeper(options(vm, more));
  taken.push(keeper);
  return keeper;
}

const keepers = (): number[] => pidsNaming(at.folder);

/** Has a spare one begun. */
async function spare(): Promise<number> {
  const { kind } = await take('first');
  await taken.pop()?.end();
  await until('none is left', () => keepers().length === 0);
  expectNext(kind);
  expectNext(kind);
  await until('a spare one is there', () => keepers().length === 1);
  return keepers()[0] ?? 0;
}

test('a program that comes once gets no spare one', async () => {
  const { kind } = await take('first');
  await taken.pop()?.end();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  expectNext(kind);
  expect(vi.getTimerCount()).toBe(0);
  expectNext(kind);
  expect(vi.getTimerCount()).toBe(1);
  await endSpare();
  expect(vi.getTimerCount()).toBe(0);
});

test('the next program runs under it, and what it prunes is about that one', async () => {
  const pid = await spare();
  const keeper = await take('second');
  expect(keeper.waits).toBe(true);
  const launched = await keeper.launch({ argv: ['sleep', '100'] });
  expect(launched.keeper?.pid).toBe(pid);
  await launched.release();
  expect(await launched.waitExit()).toEqual({ signal: 'SIGKILL', by: 'lease' });
  await until('it is pruned', () => existsSync(at.file('pruned-second')));
});

test('it serves one: of two at once the other one gets a new one', async () => {
  const pid = await spare();
  const both = await Promise.all([take('second'), take('third')]);
  await until('there are two', () => keepers().length === 2);
  const pids = await Promise.all(
    both.map(async (keeper) => {
      const launched = await keeper.launch({ argv: ['sleep', '100'] });
      await launched.end();
      return launched.keeper?.pid;
    }),
  );
  expect(pids).toContain(pid);
  expect(new Set(pids).size).toBe(2);
});

test.each([
  ['another shell', { shell: ['/bin/bash', '--posix'] as const }],
  ['another prune command', { prune: ['touch'] }],
  ['another name of a file', { exitFile: 'ended' }],
])('%s is of another kind: the spare one ends', async (_, more) => {
  const pid = await spare();
  const keeper = await take('second', more);
  expect(identify(pid)).toBeUndefined();
  expect(keeper.waits).toBe(true);
});

test('it does not serve when our environment is another one since', async () => {
  const pid = await spare();
  vi.stubEnv('POLYVISOR_HOME', at.file('elsewhere'));
  await take('second');
  expect(identify(pid)).toBeUndefined();
});

test('one that was killed does not serve', async () => {
  const pid = await spare();
  process.kill(pid, 'SIGKILL');
  await until('it is gone', () => !existsSync(`/proc/${pid}`));
  const keeper = await take('second');
  const launched = await keeper.launch({ argv: ['true'] });
  expect(await launched.waitExit()).toEqual({ code: 0 });
});

test('one that nobody takes ends by itself', async () => {
  const { kind } = await take('first');
  await taken.pop()?.end();
  await until('none is left', () => keepers().length === 0);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  expectNext(kind);
  expectNext(kind);
  await vi.advanceTimersByTimeAsync(10);
  await until('a spare one is there', () => keepers().length === 1);
  await vi.advanceTimersByTimeAsync(6000);
  await until('none is left', () => keepers().length === 0);
});

test('signals leave it where it is', async () => {
  const pid = await spare();
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.kill(pid, signal);
  const keeper = await take('second');
  const launched = await keeper.launch({ argv: ['true'] });
  expect(launched.keeper?.pid).toBe(pid);
  expect(await launched.waitExit()).toEqual({ code: 0 });
});

test('it ends with its owner, and prunes nothing', async () => {
  const options = at.options([], { prune: ['touch', at.file('pruned')] });
  const { process: owner, next } = startOwner(options, 'expects');
  expect(await next()).toBe('expected');
  // Its owner's command line names the folder as well.
  await until('a spare one is there', () => keepers().length === 2);
  owner.kill('SIGKILL');
  await until('no process is left', () => keepers().length === 0);
  expect(existsSync(at.file('pruned'))).toBe(false);
});

test('a path that is no line is refused, and no process is left', async () => {
  await expect(takeKeeper(options('a\nb'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await expect(takeKeeper(options('vm', { about: 'two words' }))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  await until('no process is left', () => keepers().length === 0);
});

test('a path may have blanks, also at its ends', async () => {
  const keeper = await take(' a  b ', { about: undefined });
  const launched = await keeper.launch({ argv: ['sh', '-c', 'echo hello'] });
  await launched.waitExit();
  expect(at.read(' a  b /log')).toBe('hello\n');
});
