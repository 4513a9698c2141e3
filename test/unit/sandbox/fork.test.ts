import { existsSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places } from '../../../src/state/paths.ts';
import { codeOf } from '../../fakes/failure.ts';

let vm: Vm;
beforeEach(async () => {
  vm = await Vm.create({ hypervisor: 'mock', name: 'source', maxVcpus: 2 });
});
afterEach(async () => {
  await vm.remove();
});
const names = async (): Promise<string[]> => (await Vm.list()).map(({ name }) => name);

it('forks are VMs of their own, with what the source has by then, and the source goes on', async () => {
  await vm.resize({ vcpus: 2 });
  const pauses: number[] = [];
  const forks = await vm.fork(5, { onPause: (ms) => pauses.push(ms) });
  try {
    expect(pauses).toHaveLength(1);
    expect(new Set(forks.map(({ id }) => id)).size).toBe(5);
    for (const fork of forks) {
      expect((await fork.exec(['echo', 'on'])).stdout).toBe('on\n');
      expect(await fork.inspect()).toMatchObject({ vcpus: 2, detached: false, status: 'running' });
    }
    expect(await vm.inspect()).toMatchObject({ status: 'running' });
    expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
    expect(readdirSync(places().templates)).toEqual([]);
  } finally {
    for (const fork of forks) await fork.remove();
  }
});

it('a paused VM stays paused', async () => {
  await vm.pause();
  const [fork] = await vm.fork(1, { names: ['copy'], detached: true });
  expect(fork).toMatchObject({ name: 'copy', detached: true });
  await fork?.remove();
  expect(await vm.inspect()).toMatchObject({ status: 'paused' });
  await vm.resume();
});

it('what can not be forked is refused, and nothing is left', async () => {
  for (const count of [0, -1, 1.5, 257, Number.NaN]) expect(await codeOf(vm.fork(count))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(vm.fork(2, { names: ['a'] }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(vm.fork(2, { names: ['a', 'a'] }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(vm.fork(1, { names: ['../a'] }))).toBe('INVALID_NAME');
  // One of them fails: none is left.
  expect(await codeOf(vm.fork(3, { names: ['a', 'source', 'b'] }))).toBe('NAME_IN_USE');
  expect(await codeOf(vm.fork(1, { signal: AbortSignal.abort() }))).toBe('ABORTED');
  expect(await names()).toEqual(['source']);
  expect(readdirSync(places().templates)).toEqual([]);
  expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
  await vm.stop();
  expect(await codeOf(vm.fork())).toBe('INVALID_STATE');
});

it('one that can not be saved goes on', async () => {
  const fails = await Vm.create({ hypervisor: 'mock', hypervisorParams: [{ key: 'fail', value: 'save' }] });
  try {
    expect(await codeOf(fails.fork())).toBe('VMM_FAILED');
    expect(await fails.inspect()).toMatchObject({ status: 'running' });
    expect(existsSync(places().templates) ? readdirSync(places().templates) : []).toEqual([]);
  } finally {
    await fails.remove();
  }
});
