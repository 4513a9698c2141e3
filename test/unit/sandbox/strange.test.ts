import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, it, vi } from 'vitest';
import { listVms, removeVm } from '../../../src/sandbox/inspect.ts';
import { prune } from '../../../src/sandbox/prune.ts';
import { stopVm } from '../../../src/sandbox/stop-vm.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { identify, isAlive } from '../../../src/state/process-identity.ts';
import { VmStore } from '../../../src/state/store.ts';

afterEach(() => vi.useRealTimers());

it.each([
  ['detached', { detached: true, owner: undefined }],
  ['owned by a dead process', { detached: false }],
])('a process that got the pid of a VMM (%s) is never signalled', async (_, change) => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'ghost', detached: true });
  await vm.kill();
  await vm.close();
  const bystander = spawn('sleep', ['100'], { stdio: 'ignore' });
  const identity = identify(bystander.pid ?? 0);
  if (identity === undefined) throw new Error('not identified');
  // As the record would be if the kernel had given that pid out again.
  const earlier = { ...identity, startTime: identity.startTime - 1 };
  await new VmStore().update('ghost', (record) => ({
    ...change,
    status: 'running',
    ended: undefined,
    vmm: earlier,
    owner: 'owner' in change ? undefined : earlier,
    driver: { ...(record.driver as object), process: earlier },
  }));
  expect(await listVms()).toMatchObject([{ name: 'ghost', status: 'stopped', pid: undefined }]);
  expect(await stopVm('ghost')).toBe(false);
  await prune();
  if ((await listVms()).length > 0) await removeVm('ghost', { force: true });
  expect(isAlive(identity)).toBe(true);
  bystander.kill('SIGKILL');
  await once(bystander, 'close');
});

it.each([
  ['forward', 10 * 365 * 86_400_000],
  ['back', -10 * 365 * 86_400_000],
])('a clock that jumps %s ends no wait too early or too late', async (_, byMs) => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const jump = (): void => void vi.setSystemTime(Date.now() + byMs);
  const vm = await Vm.create({ hypervisor: 'mock', timeoutMs: 15_000, onEvent: jump });
  try {
    const running = vm.exec(['sleep', '0.3'], { timeoutMs: 10_000 });
    jump();
    expect((await running).exitCode).toBe(0);
    const late = vm.exec(['sleep', '100'], { timeoutMs: 300 });
    const began = performance.now();
    jump();
    expect(
      await late.then(
        () => 'in time',
        () => 'too late',
      ),
    ).toBe('too late');
    expect(performance.now() - began).toBeLessThan(5000);
    const stopped = vm.stop({ graceMs: 5000 });
    jump();
    await stopped;
  } finally {
    await vm.remove();
  }
});
