import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { prune as command } from '../../../../src/cli/commands/prune.ts';
import { prune } from '../../../../src/sandbox/prune.ts';
import { bootId } from '../../../../src/state/process-identity.ts';
import { VmStore } from '../../../../src/state/store.ts';
import { codeOf } from '../../../fakes/failure.ts';

const dead = { pid: spawnSync('/bin/true').pid, startTime: 1, bootId: bootId() };
const store = new VmStore();
const names = async (): Promise<string[]> => (await store.list()).map(({ name }) => name);
const run = async (...argv: string[]): Promise<void> => void (await command().parseAsync(argv, { from: 'user' }));

beforeEach(async () => {
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  for (const name of ['one', 'two']) await store.create({ name, hypervisor: 'mock', owner: dead });
});
afterEach(async () => {
  vi.restoreAllMocks();
  await prune();
});

it('--dry-run removes nothing, for one VM either', async () => {
  const { id } = await store.read('one');
  for (const which of [[], ['one'], ['--id', id]]) await run(...which, '--dry-run');
  expect(await names()).toEqual(['one', 'two']);
});

it('an id alone is that VM alone', async () => {
  const { id } = await store.read('two');
  await run('--id', id);
  expect(await names()).toEqual(['one']);
  await run('--id', 'ffffffffffff');
  expect(await names()).toEqual(['one']);
});

it('--all is for everything', async () => {
  const { id } = await store.read('one');
  expect(await codeOf(run('--id', id, '--all', '--force'))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(run('one', '--all', '--force'))).toBe('INVALID_ARGUMENT');
  expect(await names()).toEqual(['one', 'two']);
});
