import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it, vi } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import { findAbandoned, prune, pruneEach } from '../../../src/sandbox/prune.ts';
import { removeFiles } from '../../../src/sandbox/remove-files.ts';
import { findUnused, removeEach, removeUnused } from '../../../src/sandbox/unused.ts';
import type { VmEvent } from '../../../src/sandbox/events.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { bootId, identify, isAlive } from '../../../src/state/process-identity.ts';
import { VmStore } from '../../../src/state/store.ts';
import { codeOf } from '../../fakes/failure.ts';

vi.mock('../../../src/sandbox/remove-files.ts', { spy: true });

const dead = { pid: spawnSync('/bin/true').pid, startTime: 1, bootId: bootId() };
const store = new VmStore();

/** What dead processes left, some of it in a way that it can't be removed. */
async function leave(names: readonly string[], stuck: readonly string[]): Promise<void> {
  for (const name of names) await store.create({ name, hypervisor: 'mock', owner: dead });
  const { removeFiles: real } = await vi.importActual<{ removeFiles: typeof removeFiles }>(
    '../../../src/sandbox/remove-files.ts',
  );
  vi.mocked(removeFiles).mockImplementation(async (at, vm) => {
    if (stuck.includes(vm.name)) throw new VmError('IO', 'EBUSY: resource busy or locked');
    return real(at, vm);
  });
}

afterEach(async () => {
  vi.mocked(removeFiles).mockRestore();
  await prune();
});

it('goes on after a VM that can not be removed, and tells of it', async () => {
  await leave(['a', 'b', 'c'], ['a']);
  await expect(prune()).rejects.toMatchObject({ code: 'IO', facts: { name: 'a' } });
  expect((await store.list()).map(({ name }) => name)).toEqual(['a']);
});

it('tells of all that can not be removed', async () => {
  await leave(['a', 'b', 'c'], ['a', 'c']);
  const error = await prune().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AggregateError);
  const { errors, message } = error as AggregateError;
  expect(errors).toMatchObject([{ facts: { name: 'a' } }, { facts: { name: 'c' } }]);
  expect(message).toContain('EBUSY');
  expect(await pruneEach()).toMatchObject({ removed: [], failures: [{ code: 'IO' }, { code: 'IO' }] });
});

it('the same holds for all that is unused', async () => {
  await leave(['a', 'b', 'c'], ['a']);
  expect(await removeEach(await findUnused())).toMatchObject({
    abandoned: ['b', 'c'],
    ended: [],
    failures: [{ facts: { name: 'a' } }],
  });
  expect(await codeOf(removeUnused(await findUnused()))).toBe('IO');
});

it('an id alone is that VM alone, and an unknown one none', async () => {
  await leave(['a', 'b'], []);
  const { id } = await store.read('b');
  expect(await prune(undefined, { id: 'ffffffffffff' })).toEqual([]);
  expect(await prune(undefined, { id: '' })).toEqual([]);
  expect(await prune('a', { id })).toEqual([]);
  expect((await findUnused({ id })).abandoned).toEqual(['b']);
  expect(await prune(undefined, { id })).toEqual(['b']);
  expect((await store.list()).map(({ name }) => name)).toEqual(['a']);
});

it('create says what it could not clear, and goes on unless that holds the name', async () => {
  await leave(['dead'], ['dead']);
  const heard: VmEvent[] = [];
  const vm = await Vm.create({ hypervisor: 'mock', name: 'new', onEvent: (event) => heard.push(event) });
  await vm.remove();
  expect(heard).toContainEqual(
    expect.objectContaining({ message: "dead is dead and can't be cleared: IO: EBUSY: resource busy or locked" }),
  );
  expect(await codeOf(Vm.create({ hypervisor: 'mock', name: 'dead' }))).toBe('IO');
});

it('a VMM that runs on without owner and keeper is found, and ended', async () => {
  const child = spawn('sleep', ['100']);
  await once(child, 'spawn');
  const gone = once(child, 'exit');
  const vmm = identify(child.pid ?? 0);
  await store.create({ name: 'orphan', hypervisor: 'mock', status: 'running', owner: dead, vmm });
  expect((await findAbandoned()).map(({ name }) => name)).toEqual(['orphan']);
  expect(vmm !== undefined && isAlive(vmm)).toBe(true);
  expect((await removeEach(await findUnused())).abandoned).toEqual(['orphan']);
  expect(await gone).toEqual([null, 'SIGKILL']);
});
