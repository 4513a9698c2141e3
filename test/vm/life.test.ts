import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { cliProgram } from '../../src/config/package-files.ts';
import type { VmEnding } from '../../src/state/record.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { waitForVm } from '../../src/sandbox/wait-vm.ts';
import { codeOf } from '../fakes/failure.ts';
import { smallGuest } from './guest.ts';

/** Has the guest do something that ends it, and tells how it ended. */
const endedBy = async (vm: Vm, command: string): Promise<VmEnding | undefined> => {
  const last = vm.exec(command);
  last.exited.catch(() => undefined);
  const { ended } = await waitForVm(vm.name, { timeoutMs: 60_000 });
  return ended;
};

/** Runs the command line program, as a process of its own. */
const program = async (...words: string[]): Promise<{ code: number; output: string }> => {
  const child = spawn(process.execPath, [cliProgram, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => output.push(data));
  const [code] = (await once(child, 'close')) as [number];
  return { code, output: Buffer.concat(output).toString() };
};

// One detached VM for all, since each boot takes seconds: it is started again after each of its ends.
it('the life of a detached VM: many processes, a new name, and three ends of which it is known how they came', async () => {
  const vm = await Vm.create({ ...smallGuest, name: 'cat', detached: true, start: false });
  try {
    await figures(vm);
    await manyProcesses();
    await renamed(vm);
    await panicked(vm);
    await rebooted(vm);
    await signalled(vm);
  } finally {
    await vm.remove();
  }
});

/** A VM that was made for later boots, and tells its figures. */
async function figures(vm: Vm): Promise<void> {
  await vm.start();
  expect((await vm.exec(['cat', '/proc/sys/kernel/ostype'])).stdout).toBe('Linux\n');
  const { vmm, guest } = await vm.statistics();
  expect(vmm.vcpus).toHaveLength(1);
  expect(vmm.vcpus[0]?.cpuTimeMs).toBeGreaterThan(0);
  expect(vmm.cpuTimeMs).toBeGreaterThanOrEqual(vmm.vcpus[0]?.cpuTimeMs ?? Infinity);
  expect(vmm.residentBytes).toBeGreaterThan(16 * 2 ** 20);
  expect(guest?.memoryTotalBytes).toBeGreaterThan(100 * 2 ** 20);
}

/** Two, then eight processes use it at once; one more waits for its turn. */
async function manyProcesses(): Promise<void> {
  const two = await Promise.all([program('exec', 'cat', '--', 'echo', 'a'), program('inspect', 'cat')]);
  expect(two.map(({ code }) => code)).toEqual([0, 0]);
  // With the first handle eight channels are held.
  const handles = await Promise.all(Array.from({ length: 7 }, () => Vm.connect('cat')));
  expect(await codeOf(Vm.connect('cat', { timeoutMs: 500 }))).toBe('BUSY');
  const many = Promise.all([
    ...Array.from({ length: 5 }, (_, at) => program('exec', 'cat', '--', 'echo', `${at}`)),
    program('stats', '--no-stream', '--json', 'cat'),
    program('inspect', 'cat'),
    program('ls', '--json'),
  ]);
  const mine = await Promise.all(handles.map((handle, at) => handle.exec(['echo', `h${at}`])));
  expect(mine.map(({ stdout }) => stdout.trim())).toEqual(handles.map((_, at) => `h${at}`));
  await Promise.all(handles.map((handle) => handle.close()));
  const answers = await many;
  expect(answers.map(({ code }) => code)).toEqual(Array.from({ length: 8 }, () => 0));
  expect(answers.slice(0, 5).map(({ output }) => output.trim())).toEqual(['0', '1', '2', '3', '4']);
  expect(JSON.parse(answers[5]?.output ?? '')).toMatchObject({ name: 'cat', vmm: { vcpus: [{ index: 0 }] } });
}

/** It gets another name while it runs, and pauses under that. */
async function renamed(vm: Vm): Promise<void> {
  await vm.rename('lion');
  expect((await vm.exec(['echo', 'roar'])).stdout).toBe('roar\n');
  await vm.pause();
  expect((await vm.inspect()).status).toBe('paused');
  await vm.resume();
  await vm.check();
}

/** Its panic is known afterwards, and told as an event. */
async function panicked(vm: Vm): Promise<void> {
  const events = vm.events({ types: ['panicked', 'ended'] });
  const first = events.next();
  const ended = await endedBy(vm, 'echo c > /proc/sysrq-trigger');
  expect(ended).toMatchObject({ reason: 'guest-panicked' });
  expect(ended?.panic).toContain('Kernel panic');
  expect((await first).value).toMatchObject({ event: 'panicked', name: 'lion' });
  expect((await events.next()).value).toMatchObject({ event: 'ended', reason: 'guest-panicked' });
  await events.return?.();
}

/** Started again it reboots, which ends it, with that reason. */
async function rebooted(vm: Vm): Promise<void> {
  await vm.start();
  expect(await endedBy(vm, 'reboot -f')).toMatchObject({ reason: 'guest-reset' });
}

/** Started once more it is killed by a signal from the host, which QEMU tells. */
async function signalled(vm: Vm): Promise<void> {
  await vm.start();
  expect((await program('kill', '-s', 'TERM', 'lion')).code).toBe(0);
  const { ended } = await waitForVm('lion', { timeoutMs: 20_000 });
  expect(ended).toMatchObject({ reason: 'host-signal' });
  expect([ended?.exitCode, ended?.signal]).toEqual([undefined, undefined]);
  const { output } = await program('ls', '-a');
  expect(output).toMatch(/lion .*stopped \(host signal\) \d+s ago/);
}
