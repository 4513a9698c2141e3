import { afterEach, expect, it } from 'vitest';
import { listTemplates, removeTemplate } from '../../../src/sandbox/template.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { codeOf } from '../../fakes/failure.ts';

const mock = { hypervisor: 'mock', maxVcpus: 4 } as const;
const listed = async (): Promise<string[]> => (await Vm.list()).map(({ name, status }) => `${name} ${status}`);

afterEach(async () => {
  for (const { name } of await listTemplates()) await removeTemplate(name);
});

it('without a cache each VM is booted, or cloned', async () => {
  const direct = await Vm.factory(mock);
  expect([direct.kind, await direct.status()]).toEqual(['direct', []]);
  await Vm.template({ ...mock, name: 'web' });
  const cloning = await Vm.factory({ template: 'web' });
  expect(cloning.kind).toBe('template');
  for (const factory of [direct, cloning]) {
    await factory.filled();
    const vm = await factory.getVm({ name: 'mine', vcpus: 2 });
    expect(await vm.inspect()).toMatchObject({ name: 'mine', vcpus: 2, detached: false });
    await vm.remove();
    await factory.close();
    expect(await codeOf(factory.getVm())).toBe('INVALID_STATE');
  }
});

it('with a cache they stand ready, paused, and go on as they are asked to', async () => {
  const factory = await Vm.factory({ ...mock, cache: 2 });
  try {
    await factory.filled();
    expect(factory.kind).toBe('cache');
    expect(await factory.status()).toHaveLength(2);
    for (const line of await listed()) expect(line).toMatch(/^cached-vm-[0-9a-f]{8} paused$/);
    const before = (await factory.status()).map(({ pid }) => pid);
    const vm = await factory.getVm({ name: 'taken', vcpus: 3, detached: true });
    try {
      expect(before).toContain((await vm.inspect()).pid);
      expect(await vm.inspect()).toMatchObject({ name: 'taken', status: 'running', vcpus: 3, detached: true });
      // At its start, and when it was taken.
      expect((await vm.agent.info()).reseeds).toBe(2);
      expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
      await factory.filled();
      expect(await factory.status()).toHaveLength(2);
      expect(await codeOf(factory.getVm({ name: 'taken' }))).toBe('NAME_IN_USE');
      expect(await codeOf(factory.getVm({ name: '../x' }))).toBe('INVALID_NAME');
      expect(await codeOf(factory.getVm({ vcpus: 9 }))).toBe('INVALID_ARGUMENT');
    } finally {
      await factory.close();
      expect(await listed()).toEqual(['taken running']);
      await vm.remove();
    }
  } finally {
    await factory.close();
  }
  expect(await listed()).toEqual([]);
});

it('one that was killed while it stood ready is never given out', async () => {
  const factory = await Vm.factory({ ...mock, cache: 2 });
  try {
    await factory.filled();
    const [first] = await factory.status();
    process.kill(first?.pid ?? 0, 'SIGKILL');
    const vm = await factory.getVm();
    expect((await vm.inspect()).pid).not.toBe(first?.pid);
    expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
    await vm.remove();
  } finally {
    await factory.close();
  }
});

it('what can not be is refused at once', async () => {
  for (const cache of [-1, 1.5, 257, '2' as never])
    expect(await codeOf(Vm.factory({ ...mock, cache }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(Vm.factory({ template: 'none', cache: 1 }))).toBe('NOT_FOUND');
  const failing = await Vm.factory({ ...mock, cache: 1, hypervisorParams: [{ key: 'fail', value: 'pause' }] });
  expect(await codeOf(failing.getVm())).toBe('VMM_FAILED');
  expect(await codeOf(failing.filled())).toBe('VMM_FAILED');
  await failing.close();
  expect(await listed()).toEqual([]);
});
