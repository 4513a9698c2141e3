import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { listVms, removeVm } from '../../../src/sandbox/inspect.ts';
import { killVm } from '../../../src/sandbox/kill-vm.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { waitForVm } from '../../../src/sandbox/wait-vm.ts';
import { vmFiles } from '../../../src/state/paths.ts';
import { identify } from '../../../src/state/process-identity.ts';
import { VmStore } from '../../../src/state/store.ts';
import { waitGone } from '../../../src/transports/process/wait-gone.ts';
import { until } from '../../fakes/child.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

const mock = { hypervisor: 'mock' } as const;
const statusIn = async (name: string): Promise<string | undefined> =>
  (await listVms()).find((vm) => vm.name === name)?.status;

/** Uses a VM and removes it, however that goes. */
const using = async (vm: Vm, use: (vm: Vm) => Promise<void>): Promise<void> => {
  try {
    await use(vm);
  } finally {
    await vm.remove();
  }
};

describe('a VM that is made for later', () => {
  it('is there with its configuration, runs nothing, and is started once', async () =>
    using(await Vm.create({ ...mock, name: 'later', start: false, memoryMiB: 64 }), async (vm) => {
      expect(await vm.inspect()).toMatchObject({ status: 'created', pids: [], memoryMiB: 64 });
      expect(await codeOf((async () => vm.exec(['true']))())).toBe('AGENT_GONE');
      expect(await codeOf(vm.pause())).toBe('INVALID_STATE');
      expect(await codeOf(Vm.connect('later'))).toBe('NOT_RUNNING');
      expect(await codeOf(waitForVm('later'))).toBe('NOT_RUNNING');
      await vm.start();
      expect((await vm.exec(['echo', 'up'])).stdout).toBe('up\n');
      expect(await vm.inspect()).toMatchObject({ status: 'running', detached: false });
      expect(await codeOf(vm.start())).toBe('INVALID_STATE');
    }));

  it('and detached is kept without any process of ours, and can be removed', async () => {
    const vm = await Vm.create({ ...mock, name: 'shelf', start: false, detached: true });
    await vm.close();
    expect((await new VmStore().read('shelf')).owner).toBeUndefined();
    expect(await statusIn('shelf')).toBe('created');
    const again = await Vm.open('shelf');
    await again.start();
    expect(again.detached).toBe(true);
    expect((await new VmStore().read('shelf')).owner).toBeUndefined();
    await again.stop();
    await removeVm('shelf');
  });
});

describe('a VM that has ended', () => {
  it('is started again with the same configuration and id, and its end is forgotten', async () =>
    using(await Vm.create({ ...mock, name: 'again', vcpus: 2 }), async (vm) => {
      const first = (await vm.inspect()).pid;
      await vm.stop();
      await vm.start();
      const now = await vm.inspect();
      expect(now).toMatchObject({ id: vm.id, status: 'running', vcpus: 2, ended: undefined });
      expect(now.pid).not.toBe(first);
      expect((await vm.exec(['echo', 'again'])).stdout).toBe('again\n');
      await vm.kill();
      await vm.start();
      await vm.check();
    }));

  it('that cannot be started again is kept, as failed, with the reason, and can be tried once more', async () =>
    using(await Vm.create({ ...mock, name: 'spoilt' }), async (vm) => {
      await vm.stop();
      const file = vmFiles.config((await vm.inspect()).folders.state);
      const config = readFileSync(file, 'utf8');
      writeFileSync(
        file,
        config.replace('"hypervisorParams": []', '"hypervisorParams": [{"key":"fail","value":"start"}]'),
      );
      const broken = await Vm.open('spoilt');
      expect(await codeOf(broken.start())).toBe('VMM_FAILED');
      expect(await vm.inspect()).toMatchObject({ status: 'failed', pids: [] });
      expect((await vm.inspect()).ended?.reason).toContain('told to fail at start');
      writeFileSync(file, config);
      await vm.start();
      expect(await vm.inspect()).toMatchObject({ status: 'running' });
    }));
});

describe('rename', () => {
  it('while it runs: every handle goes on, commands, stop and the files', async () =>
    using(await Vm.create({ ...mock, name: 'before' }), async (vm) => {
      const other = await Vm.connect('before');
      await other.rename('after');
      expect([vm.name, other.name]).toEqual(['before', 'after']);
      expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
      await vm.pause();
      await vm.resume();
      expect(vm.name).toBe('after');
      await other.close();
      expect(await codeOf(Vm.connect('before'))).toBe('NOT_FOUND');
      expect((await listVms()).map(({ name, status }) => [name, status])).toEqual([['after', 'running']]);
      await vm.stop();
      // The keeper wrote down the end in the folder under its new name.
      expect(await vm.inspect()).toMatchObject({ name: 'after', ended: { exitCode: 0 } });
      await vm.start();
    }));

  it('to a name that is taken, or that is none, changes nothing', async () =>
    using(await Vm.create({ ...mock, name: 'one' }), async (one) =>
      using(await Vm.create({ ...mock, name: 'two' }), async () => {
        expect(await codeOf(one.rename('two'))).toBe('NAME_IN_USE');
        expect(await codeOf(one.rename('one'))).toBe('NAME_IN_USE');
        expect(await codeOf(one.rename('../out'))).toBe('INVALID_NAME');
        expect((await listVms()).map(({ name }) => name)).toEqual(['one', 'two']);
        expect((await new VmStore().read('one')).renamingTo).toBeUndefined();
      }),
    ));

  it('of many at once to one name: one gets it', async () => {
    const vms = await Promise.all([1, 2, 3].map((n) => Vm.create({ ...mock, name: `n${n}` })));
    try {
      const ends = await Promise.all(vms.map((vm) => codeOf(vm.rename('wanted')).catch(() => 'done')));
      expect(ends.toSorted()).toEqual(['NAME_IN_USE', 'NAME_IN_USE', 'done']);
      expect((await listVms()).filter(({ name }) => name === 'wanted')).toHaveLength(1);
    } finally {
      await Promise.all(vms.map((vm) => vm.remove()));
    }
  });

  it('is whole at whatever point it is cut short', async () =>
    using(await Vm.create({ ...mock, name: 'cut' }), async (vm) => {
      const store = new VmStore();
      // As a process leaves it that was killed before the folder got its name ...
      await store.update('cut', { renamingTo: 'cut-2' });
      expect((await store.read('cut')).name).toBe('cut');
      await vm.rename('cut-3');
      // ... and after that.
      await store.rename(vm, 'cut-4');
      const file = vmFiles.state(store.folder('cut-4'));
      writeFileSync(
        file,
        readFileSync(file, 'utf8').replace('"name": "cut-4"', '"name": "cut-3", "renamingTo": "cut-4"'),
      );
      expect(await store.read('cut-4')).toMatchObject({ name: 'cut-4', id: vm.id });
      await vm.check();
    }));
});

describe('a handle of a VM that was removed', () => {
  it('never touches the one that has its name now', async () => {
    const stale = await Vm.create({ ...mock, name: 'taken' });
    await removeVm('taken', { force: true });
    await using(await Vm.create({ ...mock, name: 'taken' }), async (fresh) => {
      const acts: Record<string, () => Promise<unknown>> = {
        pause: () => stale.pause(),
        resume: () => stale.resume(),
        stop: () => stale.stop(),
        kill: () => stale.kill(),
        start: () => stale.start(),
        rename: () => stale.rename('mine'),
        adopt: () => stale.adopt(),
        detach: () => stale.detach(),
        inspect: () => stale.inspect(),
      };
      for (const [name, act] of Object.entries(acts)) {
        const error = await failure(act());
        expect([name, error.code]).toEqual([name, 'NOT_FOUND']);
        expect(error.advice).toContain('Another VM is named taken now');
      }
      await stale.remove();
      expect(await fresh.inspect()).toMatchObject({ id: fresh.id, status: 'running', detached: false });
      expect((await fresh.exec(['echo', 'whole'])).stdout).toBe('whole\n');
    });
  });
});

describe('getOrCreate', () => {
  it('creates, connects, and starts what has ended', async () => {
    const first = await Vm.getOrCreate('service', mock);
    try {
      const second = await Vm.getOrCreate('service', mock);
      expect(second.id).toBe(first.id);
      expect((await second.exec(['echo', 'same'])).stdout).toBe('same\n');
      await second.close();
      await first.stop();
      const third = await Vm.getOrCreate('service', mock);
      expect(third.id).toBe(first.id);
      await third.exec(['true'], { check: true });
      await third.close();
    } finally {
      await first.remove();
    }
  });

  it('of many at once: one creates it, and all use the same', async () => {
    const vms = await Promise.all(Array.from({ length: 5 }, () => Vm.getOrCreate('one', mock)));
    try {
      expect(new Set(vms.map(({ id }) => id)).size).toBe(1);
      const answers = await Promise.all(vms.map((vm, at) => vm.exec(['echo', `${at}`])));
      expect(answers.map(({ stdout }) => stdout.trim())).toEqual(['0', '1', '2', '3', '4']);
    } finally {
      await Promise.all(vms.map((vm) => vm.close()));
      await removeVm('one', { force: true });
    }
  });

  it('makes it when its maker has failed, and ends with its time-out while another makes it', async () => {
    await new VmStore().create({ name: 'slow', hypervisor: 'mock' });
    expect(await codeOf(Vm.getOrCreate('slow', { ...mock, timeoutMs: 200 }))).toMatch(/^(TIMEOUT|BUSY)$/);
    const gone = { pid: 4242, startTime: 1, bootId: '00000000-0000-4000-8000-000000000000' };
    await new VmStore().update('slow', { owner: gone });
    await using(await Vm.getOrCreate('slow', mock), (vm) => vm.check());
  });
});

describe('how a VM has ended', () => {
  it('that nobody was there to see is said as far as it is known', async () => {
    const vm = await Vm.create({ ...mock, name: 'alone', detached: true });
    await using(vm, async () => {
      const { pid = 0 } = await vm.inspect();
      const vmm = identify(pid);
      process.kill(pid, 'SIGKILL');
      if (vmm !== undefined) await waitGone(vmm);
      expect(await listVms()).toMatchObject([
        { status: 'stopped', ended: { reason: 'killed or crashed: it left no word', noticed: true } },
      ]);
      const { ended } = await vm.inspect();
      expect([ended?.exitCode, ended?.signal]).toEqual([undefined, undefined]);
      // It was written down when it was first seen, and stays so.
      expect((await waitForVm('alone')).ended).toEqual(ended);
    });
  });

  it('with an owner is told by its keeper, whoever asks first', async () =>
    using(await Vm.create({ ...mock, name: 'owned' }), async (vm) => {
      const waited = waitForVm('owned');
      const { pid = 0 } = await vm.inspect();
      process.kill(pid, 'SIGKILL');
      expect((await waited).ended).toMatchObject({ signal: 'SIGKILL' });
      expect(await vm.inspect()).toMatchObject({ status: 'stopped', ended: { signal: 'SIGKILL' } });
    }));

  it('after a reboot of the host is that', async () =>
    using(await Vm.create({ ...mock, name: 'old', start: false }), async (vm) => {
      const vmm = { pid: 4242, startTime: 1, bootId: '00000000-0000-4000-8000-000000000000' };
      await new VmStore().update('old', { status: 'running', vmm });
      expect((await vm.inspect()).ended).toMatchObject({ reason: 'host-reboot', noticed: true });
    }));

  it('kill sends other signals to the VMM, and refuses a VM that does not run', async () =>
    using(await Vm.create({ ...mock, name: 'told' }), async (vm) => {
      await killVm('told', 'SIGTERM');
      expect((await waitForVm('told', { timeoutMs: 10_000 })).ended).toMatchObject({ exitCode: 0 });
      expect(await codeOf(killVm('told'))).toBe('NOT_RUNNING');
      await vm.start();
      await killVm('told');
      expect((await vm.inspect()).ended).toMatchObject({ signal: 'SIGKILL', reason: 'killed' });
    }));

  it('a VMM that stands still is shown as that, and is running', async () =>
    using(await Vm.create({ ...mock, name: 'ice' }), async (vm) => {
      const { pid = 0 } = await vm.inspect();
      process.kill(pid, 'SIGSTOP');
      await until('it stands still', async () => (await listVms())[0]?.frozen === true);
      expect(await statusIn('ice')).toBe('running');
      expect(await codeOf(vm.check({ timeoutMs: 200 }))).toBe('TIMEOUT');
      process.kill(pid, 'SIGCONT');
      await vm.check({ timeoutMs: 10_000 });
      expect((await listVms())[0]?.frozen).toBeUndefined();
    }));

  it('a process that got the pid of a dead VMM is not taken for it', async () =>
    using(await Vm.create({ ...mock, name: 'reuse' }), async (vm) => {
      const { pid = 0 } = await vm.inspect();
      const vmm = identify(pid);
      await vm.stop();
      const own = identify(process.pid);
      if (own === undefined || vmm === undefined) throw new Error('no identity');
      // The pid is this very test's, the start time is not.
      await new VmStore().update('reuse', {
        status: 'running',
        ended: undefined,
        vmm: { ...own, startTime: own.startTime - 1 },
      });
      expect(await statusIn('reuse')).toBe('stopped');
      expect(await codeOf(killVm('reuse'))).toBe('NOT_RUNNING');
      expect(existsSync(`/proc/${process.pid}`)).toBe(true);
    }));
});
