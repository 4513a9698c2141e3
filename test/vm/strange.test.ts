import { expect, it } from 'vitest';
import { listVms } from '../../src/sandbox/inspect.ts';
import { identify, isAlive } from '../../src/state/process-identity.ts';
import { codeOf } from '../fakes/failure.ts';
import { withGuest } from './guest.ts';

it('a QEMU that stands still answers nothing in time, and is killed all the same', () =>
  withGuest({ name: 'frozen' }, async (vm) => {
    const { pid = 0 } = await vm.inspect();
    const vmm = identify(pid);
    process.kill(pid, 'SIGSTOP');
    expect(await codeOf(vm.pause({ timeoutMs: 500 }))).toBe('TIMEOUT');
    expect(await codeOf(vm.exec(['true'], { timeoutMs: 500 }))).toMatch(/^(TIMEOUT|AGENT_GONE)$/);
    expect(await listVms()).toMatchObject([{ name: 'frozen', status: 'running', pid }]);
    const began = performance.now();
    await vm.kill();
    expect(performance.now() - began).toBeLessThan(5000);
    expect(vmm !== undefined && isAlive(vmm)).toBe(false);
  }));

it('a guest that reboots ends its VM, and ls says so', () =>
  withGuest({ name: 'again' }, async (vm) => {
    const command = vm.exec(['reboot', '-f']);
    command.exited.catch(() => undefined);
    const exit = await vm.wait({ timeoutMs: 30_000 });
    expect(exit).toMatchObject({ code: 0, reason: 'guest-reset' });
    expect(await listVms()).toMatchObject([{ name: 'again', status: 'stopped' }]);
  }));
