import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { expect, it } from 'vitest';
import { listVms, removeVm } from '../../src/sandbox/inspect.ts';
import { logPath } from '../../src/sandbox/logs.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { identify, isAlive } from '../../src/state/process-identity.ts';
import { places } from '../../src/state/paths.ts';
import { processesNaming, startOwner, until } from '../fakes/child.ts';
import { codeOf } from '../fakes/failure.ts';
import { smallGuest, withGuest } from './guest.ts';

/** Ids of the VMs that have a uid of their own. */
const uidHolders = (): string[] => {
  const folder = '/run/polyvisor/uids';
  return existsSync(folder) ? readdirSync(folder).map((uid) => readlinkSync(`${folder}/${uid}`)) : [];
};

const namingHome = (): number[] => {
  const found = processesNaming(process.env['POLYVISOR_HOME'] ?? 'no home');
  found.delete(process.pid);
  return [...found.keys()];
};

it('a QEMU that is killed while a command runs is noticed within seconds', () =>
  withGuest({ name: 'shot' }, async (vm) => {
    const { pid = 0 } = await vm.inspect();
    const running = vm.exec(['sleep', '1000']);
    await running.pid;
    const began = performance.now();
    process.kill(pid, 'SIGKILL');
    expect(await codeOf(running)).toMatch(/^(AGENT_GONE|VMM_GONE)$/);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(await vm.wait()).toMatchObject({ signal: 'SIGKILL' });
    expect(await codeOf(vm.check())).toBe('VMM_GONE');
    expect(await listVms()).toMatchObject([{ name: 'shot', status: 'stopped' }]);
    await vm.stop();
  }));

it('a guest that powers off while a command runs is noticed, with its reason', () =>
  withGuest({ name: 'off' }, async (vm) => {
    const running = vm.exec(['sleep', '1000']);
    await running.pid;
    const off = vm.exec(['poweroff', '-f']);
    expect(await codeOf(running)).toMatch(/^(AGENT_GONE|VMM_GONE)$/);
    off.exited.catch(() => undefined);
    expect(await vm.wait({ timeoutMs: 20_000 })).toMatchObject({ code: 0, reason: 'guest-shutdown' });
    expect(await listVms()).toMatchObject([{ name: 'off', status: 'stopped' }]);
  }));

it('stop asks the guest first, and says so', () =>
  withGuest({ name: 'polite' }, async (vm) => {
    await vm.stop();
    expect((await vm.inspect()).ended).toMatchObject({ exitCode: 0, reason: 'guest-shutdown' });
    expect(existsSync(await logPath('polite', 'console'))).toBe(true);
    expect(await codeOf(Vm.connect('polite'))).toBe('NOT_RUNNING');
  }));

it('stop with force does not ask', () =>
  withGuest({ name: 'curt' }, async (vm) => {
    const began = performance.now();
    await vm.stop({ force: true });
    expect(performance.now() - began).toBeLessThan(5000);
    expect((await vm.inspect()).ended).toMatchObject({ signal: 'SIGKILL' });
  }));

it('stop ends a QEMU that stands still, in bounded time; a caller who gives less is told', () =>
  withGuest({ name: 'frozen' }, async (vm) => {
    const { pid = 0 } = await vm.inspect();
    const vmm = identify(pid);
    process.kill(pid, 'SIGSTOP');
    expect(await codeOf(vm.check({ timeoutMs: 500 }))).toBe('TIMEOUT');
    expect(await codeOf(Vm.connect('frozen', { timeoutMs: 500 }))).toBe('TIMEOUT');
    expect(await codeOf(vm.stop({ timeoutMs: 500 }))).toBe('TIMEOUT');
    const began = performance.now();
    await vm.stop({ graceMs: 500 });
    expect(performance.now() - began).toBeLessThan(15_000);
    expect(vmm !== undefined && isAlive(vmm)).toBe(false);
  }));

it('an owner that is killed takes QEMU, keeper and files along', async () => {
  const owner = startOwner({ ...smallGuest, name: 'owned' });
  const { pid, folders, id } = await owner.created();
  expect(identify(pid)).toBeDefined();
  expect(uidHolders().includes(id)).toBe(process.geteuid?.() === 0);
  await owner.kill();
  await until('no process is left', () => namingHome().length === 0);
  await until('no file is left', () => !existsSync(folders.state) && !existsSync(folders.runtime));
  await until('its uid is free', () => !uidHolders().includes(id));
  expect(readdirSync(places().vms)).toEqual([]);
});

it('a detached guest survives its creator, alone, and is adopted with what runs in it', async () => {
  const owner = startOwner({ ...smallGuest, name: 'free', detached: true });
  const { pid, id } = await owner.created();
  await owner.kill();
  expect(namingHome()).toEqual([pid]);
  const vm = await Vm.connect('free');
  try {
    expect(vm).toMatchObject({ id, detached: true });
    await vm.exec('echo kept > /tmp/note; nohup sleep 5000 >/dev/null 2>&1 &');
    await vm.close();
    const again = await Vm.connect('free');
    expect((await again.exec(['cat', '/tmp/note'])).stdout).toBe('kept\n');
    await again.stop();
    expect((await again.inspect()).ended).toMatchObject({ reason: 'guest-shutdown' });
    expect(namingHome()).toEqual([]);
    await again.close();
  } finally {
    await removeVm('free', { force: true });
  }
});
