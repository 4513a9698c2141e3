import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { cliProgram } from '../../../src/config/package-files.ts';
import { listVms, removeVm } from '../../../src/sandbox/inspect.ts';
import { prune } from '../../../src/sandbox/prune.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { identify, isAlive } from '../../../src/state/process-identity.ts';
import { places } from '../../../src/state/paths.ts';
import { waitGone } from '../../../src/transports/process/wait-gone.ts';
import { commandLine, type OwnedVm, processesNaming, startOwner, until } from '../../fakes/child.ts';
import { codeOf } from '../../fakes/failure.ts';

/** Waits until nothing of a VM is left: no process, no file, and no process of this test's home. */
const expectGone = async ({ name, folders }: OwnedVm): Promise<void> => {
  await until(`everything of ${name} is gone`, () => !existsSync(folders.state) && !existsSync(folders.runtime));
  await until('no process is left', () => namingHome().size === 0);
  expect(readdirSync(places().vms)).toEqual([]);
  expect(readdirSync(places().runtime)).toEqual([]);
};

/** Processes that have this test's POLYVISOR_HOME on their command line or in their environment, this one left out. */
const namingHome = (): Map<number, string> => {
  const found = processesNaming(process.env['POLYVISOR_HOME'] ?? 'no home');
  found.delete(process.pid);
  return found;
};

it('an owner that is killed takes VMM, keeper and files along', async () => {
  const owner = startOwner({ hypervisor: 'mock', name: 'owned' });
  const vm = await owner.created();
  const vmm = identify(vm.pid);
  expect(vmm).toBeDefined();
  expect(await listVms()).toMatchObject([{ name: 'owned', status: 'running', pid: vm.pid, detached: false }]);
  await owner.kill();
  if (vmm !== undefined) await waitGone(vmm, { timeoutMs: 10_000 });
  await expectGone(vm);
}, 40_000);

it.each(['create', 'start', 'boot', 'ready'])(
  'an owner that is killed in the phase %s leaves no process, and nothing that prune does not take',
  async (phase) => {
    const owner = startOwner({ hypervisor: 'mock', name: 'unlucky' });
    await owner.phase(phase);
    await owner.kill();
    await until('no process is left', () => namingHome().size === 0);
    const status = (await listVms()).map((vm) => vm.status);
    expect(['', 'failed', 'stopped']).toContain(status.join());
    await prune();
    expect(readdirSync(places().vms)).toEqual([]);
    expect(readdirSync(places().runtime)).toEqual([]);
  },
  40_000,
);

it('an owner that closes its VM and forgets it ends by itself, and the VM with it', async () => {
  const owner = startOwner({ hypervisor: 'mock', name: 'forgotten' }, 'close');
  const vm = await owner.created();
  expect(await owner.ended()).toBe(0);
  await expectGone(vm);
}, 40_000);

it('a detached VM survives its creator, without any process beside the VMM, and is adopted', async () => {
  const owner = startOwner({ hypervisor: 'mock', name: 'free', detached: true });
  const vm = await owner.created();
  await owner.kill();
  const vmm = identify(vm.pid);
  expect(vmm).toBeDefined();
  expect([...namingHome().keys()]).toEqual([vm.pid]);
  expect(await prune()).toEqual([]);
  expect(await listVms()).toMatchObject([{ name: 'free', status: 'running', detached: true }]);

  const adopted = await Vm.connect('free');
  try {
    expect(adopted).toMatchObject({ id: vm.id, detached: true });
    expect((await adopted.exec(['echo', 'adopted'])).stdout).toBe('adopted\n');
    await adopted.check();
    await adopted.close();
    expect(vmm !== undefined && isAlive(vmm)).toBe(true);
  } finally {
    await removeVm('free', { force: true });
  }
  await expectGone(vm);
}, 40_000);

it('a detached VM that is stopped by another process says how it ended', async () => {
  const owner = startOwner({ hypervisor: 'mock', name: 'free', detached: true });
  await owner.created();
  await owner.kill();
  const adopted = await Vm.connect('free');
  try {
    await adopted.stop();
    expect(await adopted.inspect()).toMatchObject({ status: 'stopped', pids: [] });
  } finally {
    await adopted.remove();
  }
}, 40_000);

it('this process detaches a VM that it made, and nothing of ours remains beside it', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'later' });
  try {
    const { pid = 0 } = await vm.inspect();
    expect([...namingHome().values()].some((line) => line.includes('polyvisor-keeper'))).toBe(true);
    await vm.detach();
    expect(vm.detached).toBe(true);
    expect([...namingHome().keys()]).toEqual([pid]);
    expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
    expect(await vm.inspect()).toMatchObject({ detached: true, status: 'running' });
    expect(commandLine(pid)).toContain('--channels');
  } finally {
    await vm.remove();
  }
});

it('many processes run commands in one VM at once', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'shared' });
  try {
    const library = fileURLToPath(new URL('../../../src/sandbox/vm.ts', import.meta.url));
    const text = `
      const { Vm } = await import(${JSON.stringify(library)});
      const vm = await Vm.connect('shared');
      const answers = await Promise.all([...Array(20).keys()].map((n) => vm.exec(['echo', process.argv[1] + '.' + n])));
      await vm.close();
      console.log(answers.map(({ stdout }) => stdout.trim()).join());
    `;
    const children = ['a', 'b', 'c'].map(async (name) => {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', text, name], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const output: Buffer[] = [];
      child.stdout.on('data', (data: Buffer) => output.push(data));
      await once(child, 'close');
      return Buffer.concat(output).toString().trim();
    });
    const mine = await Promise.all([...Array(20).keys()].map((n) => vm.exec(['echo', `${n}`])));
    expect(mine.map(({ stdout }) => Number(stdout))).toEqual([...Array(20).keys()]);
    expect(await Promise.all(children)).toEqual(
      ['a', 'b', 'c'].map((name) => [...Array(20).keys()].map((n) => `${name}.${n}`).join()),
    );
  } finally {
    await vm.remove();
  }
}, 60_000);

it('the command line sees and ends what the library made', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'seen' });
  try {
    const child = spawn(process.execPath, [cliProgram, 'rm', '-f', 'seen'], { stdio: ['ignore', 'ignore', 'inherit'] });
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(0);
    expect(await vm.wait({ timeoutMs: 5000 })).toMatchObject({ signal: 'SIGKILL' });
    expect(await codeOf(vm.inspect())).toBe('NOT_FOUND');
  } finally {
    await vm.remove();
  }
}, 30_000);
