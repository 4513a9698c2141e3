import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { Vm } from '../../../src/sandbox/vm.ts';
import { endSpare, expectNext, stageNext, takeStaged } from '../../../src/sandbox/spare-vm.ts';
import { type Keeping, stageAhead, type StagedVm, unstage } from '../../../src/sandbox/staged-vm.ts';
import { places } from '../../../src/state/paths.ts';
import { VmStore } from '../../../src/state/store.ts';
import { processesNaming, startFrequentOwner, until } from '../../fakes/child.ts';

const taken: StagedVm[] = [];
afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  for (const staged of taken.splice(0)) await unstage(staged);
});

const keeping = (through: readonly string[] = []): Keeping => ({ store: new VmStore(), through });
const take = async (how: Keeping = keeping()): Promise<StagedVm> => {
  const staged = await takeStaged(how, 'next');
  taken.push(staged);
  return staged;
};
/** Names of folders that have no VM's name yet. */
const stagings = (): string[] => readdirSync(places().vms).filter((name) => name.startsWith('.new-'));
const keepers = (): number[] => {
  const found = processesNaming(process.env['POLYVISOR_HOME'] ?? 'no home');
  return [...found].filter(([, line]) => line.includes('polyvisor-keeper')).map(([pid]) => pid);
};

/** Has one staged ahead. @returns its folder */
async function spare(how: Keeping = keeping()): Promise<string> {
  expectNext(how);
  expectNext(how);
  stageNext();
  await until('one is staged', () => stagings().some((name) => existsSync(path.join(places().vms, name, 'alive'))));
  return path.join(places().vms, stagings()[0] ?? '');
}

test('a VM that comes once has none staged ahead', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  expectNext(keeping());
  expect(vi.getTimerCount()).toBe(0);
  expectNext(keeping());
  expect(vi.getTimerCount()).toBe(1);
  await endSpare();
  expect(vi.getTimerCount()).toBe(0);
});

test('VMs that are made one after the other: each has its own folder, and the next one is staged', async () => {
  const ids = new Set<string>();
  for (let round = 0; round < 4; round++) {
    const ahead = round < 2 ? undefined : stagings()[0]?.slice(-12);
    await using vm = await Vm.create({ hypervisor: 'mock' });
    expect(await vm.exec(['true'])).toMatchObject({ exitCode: 0 });
    if (ahead !== undefined) expect(vm.id).toBe(ahead);
    ids.add(vm.id);
    if (round > 0) await until('the next one is staged', () => stagings().length === 1);
    expect(readdirSync(path.join(places().vms, vm.name))).toContain('lease');
  }
  expect(ids.size).toBe(4);
  await endSpare();
  expect(readdirSync(places().vms)).toEqual([]);
  await until('no keeper is left', () => keepers().length === 0);
});

test('it serves one: of two at once the other one gets its own', async () => {
  const folder = await spare();
  const both = await Promise.all([take(), take()]);
  expect(both.map((staged) => staged.folder).toSorted()).toEqual([folder, undefined].toSorted());
  expect(both.every(({ keeper }) => keeper.waits)).toBe(true);
});

test('one that is confined otherwise does not get it: it ends', async () => {
  const folder = await spare();
  const other = await take(keeping(['/usr/bin/env']));
  expect(other.folder).toBeUndefined();
  expect(existsSync(folder)).toBe(false);
});

test('neither does one when our environment is another one since', async () => {
  const folder = await spare();
  vi.stubEnv('LANG', 'xx_YY');
  expect((await take()).folder).toBeUndefined();
  expect(existsSync(folder)).toBe(false);
});

test('nor any when its keeper was killed', async () => {
  await spare();
  const own = keepers().find((pid) => readFileSync(`/proc/${pid}/stat`, 'latin1').includes(` S ${process.pid} `)) ?? 0;
  process.kill(own, 'SIGKILL');
  await until('its end is known', () => !existsSync(`/proc/${own}`));
  expect((await take()).folder).toBeUndefined();
  expect(stagings()).toEqual([]);
});

test('nor any when its folder was removed', async () => {
  rmSync(await spare(), { recursive: true });
  expect((await take()).folder).toBeUndefined();
});

test('one that nobody takes ends by itself', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  expectNext(keeping());
  expectNext(keeping());
  await vi.advanceTimersByTimeAsync(100);
  await until('one is staged', () => keepers().length > 0 && stagings().length === 1);
  await vi.advanceTimersByTimeAsync(6000);
  await until('nothing is left', () => keepers().length === 0 && stagings().length === 0);
});

test('one that can not be staged is no failure', async () => {
  const bad = keeping(['/no/such/program']);
  await expect(stageAhead(bad)).rejects.toMatchObject({ code: 'START_FAILED' });
  expectNext(bad);
  expectNext(bad);
  stageNext();
  expect((await take()).folder).toBeUndefined();
  expect(stagings()).toEqual([]);
});

test('an owner that is killed leaves nothing', async () => {
  const owner = startFrequentOwner();
  await owner.created();
  expect(stagings()).toHaveLength(1);
  await owner.kill();
  await until('nothing is left', () => stagings().length === 0 && keepers().length === 0);
});

test('neither does one that ends at once', async () => {
  await startFrequentOwner('exit').ended();
  await until('nothing is left', () => stagings().length === 0 && keepers().length === 0);
});

test('one that ends by itself has cleared up before', async () => {
  const owner = startFrequentOwner('end');
  await owner.created();
  expect(await owner.ended()).toBe(0);
  expect(stagings()).toEqual([]);
  await until('no keeper is left', () => keepers().length === 0);
});
