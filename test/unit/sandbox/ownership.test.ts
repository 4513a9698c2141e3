import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { expect, it } from 'vitest';
import { listVms, removeVm } from '../../../src/sandbox/inspect.ts';
import { prune } from '../../../src/sandbox/prune.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { identify, isAlive } from '../../../src/state/process-identity.ts';
import { places } from '../../../src/state/paths.ts';
import { VmStore } from '../../../src/state/store.ts';
import { type OwnedVm, processesNaming, startAdopter, startOwner, until } from '../../fakes/child.ts';
import { codeOf } from '../../fakes/failure.ts';

const namingHome = (): Map<number, string> => {
  const found = processesNaming(process.env['POLYVISOR_HOME'] ?? 'no home');
  found.delete(process.pid);
  return found;
};
const expectGone = async (): Promise<void> => {
  // A shell that is becoming the prune command has no command line for a moment, and is not found then.
  await until('its files are gone', () => [places().vms, places().runtime].every((it) => readdirSync(it).length === 0));
  await until('no process is left', () => namingHome().size === 0);
};
/** How many keepers there are: each may have forked a part of itself. */
const keepers = (): number => {
  const pids = [...namingHome()].filter(([, line]) => line.includes('polyvisor-keeper')).map(([pid]) => pid);
  const parents = pids.map(parentOf);
  return parents.filter((parent) => parent !== undefined && !pids.includes(parent)).length;
};
/** Undefined for one that has ended meanwhile. */
const parentOf = (pid: number): number | undefined => {
  try {
    return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1]);
  } catch {
    return undefined;
  }
};
/** What this process has open. */
const openFiles = (): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return [];
    }
  });
const runs = ({ pid }: OwnedVm): boolean => identify(pid) !== undefined;

it('owners one after the other: the VM lives until the last of them is killed, and goes with it', async () => {
  const first = startOwner({ hypervisor: 'mock', name: 'heirloom' });
  const vm = await first.created();
  const second = startAdopter('heirloom');
  await second.created();
  await first.kill();
  const third = startAdopter('heirloom');
  await third.created();
  await second.kill();
  expect(runs(vm)).toBe(true);
  expect(await prune()).toEqual([]);
  expect(await listVms()).toMatchObject([{ name: 'heirloom', status: 'running', detached: false }]);
  await third.kill();
  await expectGone();
}, 60_000);

it('a detached VM that is adopted ends with its new owner, files and all', async () => {
  const maker = startOwner({ hypervisor: 'mock', name: 'foundling', detached: true });
  const vm = await maker.created();
  await maker.kill();
  expect([...namingHome().keys()]).toEqual([vm.pid]);
  const owner = startAdopter('foundling');
  await owner.created();
  expect(await listVms()).toMatchObject([{ detached: false, status: 'running' }]);
  await owner.kill();
  await expectGone();
}, 60_000);

it('of two that adopt a detached VM at once both own it: it ends with the later one', async () => {
  const maker = startOwner({ hypervisor: 'mock', name: 'shared', detached: true });
  const vm = await maker.created();
  await maker.kill();
  const owners = [startAdopter('shared'), startAdopter('shared')] as const;
  await Promise.all(owners.map((owner) => owner.created()));
  expect(keepers()).toBe(1);
  await owners[0].kill();
  expect(runs(vm)).toBe(true);
  await owners[1].kill();
  await expectGone();
}, 60_000);

it('the adopter of a detached VM detaches it again: no keeper remains, and it can be adopted once more', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'ball', detached: true });
  try {
    const { pid = 0 } = await vm.inspect();
    for (let round = 0; round < 2; round++) {
      await vm.adopt();
      await vm.adopt();
      expect(vm.detached).toBe(false);
      expect(keepers()).toBe(1);
      expect((await new VmStore().read('ball')).owner?.pid).toBe(process.pid);
      await vm.detach();
      await until('nothing is beside the VMM', () => [...namingHome().keys()].join() === `${pid}`);
      expect(await vm.inspect()).toMatchObject({ detached: true, status: 'running' });
    }
    await vm.adopt();
    await vm.stop();
    // What is left of it has no keeper: that it goes with us is seen to by the watch.
    await until('only the watch is left', () => {
      const [line = '', ...others] = namingHome().values();
      return line.includes('polyvisor-watch') && others.length === 0;
    });
    expect((await vm.inspect()).ended?.reason).toBe('stopped');
  } finally {
    await vm.remove();
  }
});

it('one of two owners detaches: the other one still learns of the end', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'pair' });
  try {
    const other = await Vm.connect('pair', { own: true });
    const ended = vm.wait({ timeoutMs: 15_000 });
    await other.detach();
    expect([...namingHome().values()].some((line) => line.includes('polyvisor-keeper'))).toBe(false);
    await other.kill();
    expect(await ended).toEqual({});
    await other.close();
  } finally {
    await vm.remove();
  }
});

it('a VM that does not run can not be adopted', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'still' });
  try {
    await vm.stop();
    expect(await codeOf((await Vm.open('still')).adopt())).toBe('INVALID_STATE');
  } finally {
    await vm.remove();
  }
});

it('an adopter whose keeper is killed ends the VM: nothing unguarded is left', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'bare', detached: true });
  try {
    await vm.adopt();
    const { pid = 0 } = await vm.inspect();
    const vmm = identify(pid);
    const keeper = [...namingHome()].find(([, line]) => line.includes('polyvisor-keeper'))?.[0] ?? 0;
    process.kill(keeper, 'SIGKILL');
    await until('the VMM is gone', () => vmm !== undefined && !isAlive(vmm));
  } finally {
    await vm.remove();
  }
});

it('the keeper of an adopted VM goes when another process ends the VM, and the lease with it', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'ended-elsewhere', detached: true });
  try {
    await vm.adopt();
    expect(keepers()).toBe(1);
    const other = await Vm.open('ended-elsewhere');
    await other.kill();
    await other.close();
    await until('no process is left', () => namingHome().size === 0);
    await until('the lease is let go', () => !openFiles().some((file) => file.endsWith('/lease')));
    expect(await codeOf(vm.adopt())).not.toBe('none');
    await vm.start();
    expect((await vm.exec(['echo', 'again'])).stdout).toBe('again\n');
  } finally {
    await vm.remove();
  }
}, 30_000);

it.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL', 'exit', 'throw'] as const)(
  'an owner that ends by %s takes its VM along, files and all',
  async (how) => {
    const owner = startOwner(
      { hypervisor: 'mock', name: 'short' },
      how === 'exit' || how === 'throw' ? how : undefined,
    );
    await owner.created();
    if (how !== 'exit' && how !== 'throw') owner.process.kill(how);
    await owner.ended();
    await expectGone();
  },
  40_000,
);

it('a VM whose owner lives is not removed from under it when another owner dies', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'mine' });
  try {
    const other = startAdopter('mine');
    await other.created();
    await other.kill();
    await vm.stop();
    expect(await prune()).toEqual([]);
    expect(await vm.inspect()).toMatchObject({ status: 'stopped' });
    await removeVm('mine');
  } finally {
    await vm.remove();
  }
}, 30_000);
