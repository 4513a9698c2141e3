import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { VmEvent } from '../../../src/sandbox/events.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { isAlive } from '../../../src/state/process-identity.ts';
import { identify } from '../../../src/state/process-identity.ts';
import { places } from '../../../src/state/paths.ts';
import { processesNaming } from '../../fakes/child.ts';
import { codeOf } from '../../fakes/failure.ts';

/** Uses a mock and removes it, however that goes. */
const withVm = async (use: (vm: Vm) => Promise<void>, name = 'box'): Promise<void> => {
  const vm = await Vm.create({ hypervisor: 'mock', name });
  try {
    await use(vm);
  } finally {
    await vm.remove();
  }
  expect(readdirSync(places().vms)).toEqual([]);
  expect(readdirSync(places().runtime)).toEqual([]);
};

const execCode = (vm: Vm): Promise<string> => codeOf((async () => vm.exec(['true']))());

describe('create', () => {
  it('reports its phases in order, with the time they took', async () => {
    const events: VmEvent[] = [];
    const vm = await Vm.create({ hypervisor: 'mock', onEvent: (event) => events.push(event) });
    await vm.remove();
    const phases = events.filter((event) => event.type === 'phase');
    expect(phases.map(({ phase }) => phase)).toEqual(['create', 'start', 'boot', 'ready']);
    const times = phases.map(({ elapsedMs }) => elapsedMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('makes up names that differ', async () => {
    const vms = await Promise.all([1, 2, 3].map(() => Vm.create({ hypervisor: 'mock' })));
    try {
      expect(new Set(vms.map(({ name }) => name)).size).toBe(3);
      expect(new Set(vms.map(({ id }) => id)).size).toBe(3);
    } finally {
      await Promise.all(vms.map((vm) => vm.remove()));
    }
  });

  it.each(['create', 'start', 'boot', 'ready'])(
    'leaves nothing when a listener throws in the phase %s',
    async (phase) => {
      const onEvent = (event: VmEvent): void => {
        if (event.type === 'phase' && event.phase === phase) throw new Error('a mistake of the user');
      };
      await expect(Vm.create({ hypervisor: 'mock', onEvent })).rejects.toThrow('a mistake of the user');
      expect(readdirSync(places().vms)).toEqual([]);
      expect(readdirSync(places().runtime)).toEqual([]);
    },
  );

  it('keeps its folders and files to the user', () =>
    withVm(async (vm) => {
      const { folders } = await vm.inspect();
      for (const folder of Object.values(folders)) {
        expect(statSync(folder).mode & 0o077).toBe(0);
        for (const name of readdirSync(folder)) {
          if (!statSync(`${folder}/${name}`).isSocket())
            expect([name, statSync(`${folder}/${name}`).mode & 0o077]).toEqual([name, 0]);
        }
      }
    }));
});

describe('inspect', () => {
  it('tells what runs', () =>
    withVm(async (vm) => {
      const seen = await vm.inspect();
      expect(seen).toMatchObject({
        name: 'box',
        id: vm.id,
        hypervisor: 'mock',
        status: 'running',
        detached: false,
        vcpus: 1,
        memoryMiB: 2048,
      });
      expect(seen.pids).toEqual([seen.pid]);
      expect(Date.now() - Date.parse(seen.createdAt)).toBeLessThan(60_000);
      expect(readFileSync(seen.console.log, 'utf8')).toBeTypeOf('string');
      expect(seen.folders.runtime).toContain(vm.id);
    }));
});

describe('the end', () => {
  it('stop ends the VM and keeps its files; remove takes them too', () =>
    withVm(async (vm) => {
      const { pid = 0 } = await vm.inspect();
      await vm.stop();
      expect(processesNaming(vm.id).size).toBe(0);
      expect(identify(pid)).toBeUndefined();
      expect(await vm.inspect()).toMatchObject({ status: 'stopped', pids: [], ended: { exitCode: 0 } });
      expect(await execCode(vm)).toBe('AGENT_GONE');
      expect(await codeOf(Vm.connect('box'))).toBe('NOT_RUNNING');
      expect(await codeOf(vm.stop())).toBe('INVALID_STATE');
    }));

  it('kill ends it at once', () =>
    withVm(async (vm) => {
      const ended = vm.wait();
      await vm.kill();
      expect(await ended).toMatchObject({ signal: 'SIGKILL' });
      expect(await vm.inspect()).toMatchObject({ status: 'stopped', ended: { signal: 'SIGKILL', reason: 'killed' } });
      expect(await codeOf(vm.kill())).toBe('INVALID_STATE');
    }));

  it('stop with force does not ask', () =>
    withVm(async (vm) => {
      await vm.stop({ force: true });
      expect((await vm.inspect()).ended).toMatchObject({ signal: 'SIGKILL' });
    }));

  it.each([0, 1])('stop with a grace of %d ms ends the VM all the same', (graceMs) =>
    withVm(async (vm) => {
      await vm.stop({ graceMs });
      expect(await vm.inspect()).toMatchObject({ status: 'stopped' });
    }),
  );

  it('stop of a paused VM does not wait for a guest that stands still', () =>
    withVm(async (vm) => {
      await vm.pause();
      const began = performance.now();
      await vm.stop();
      expect(performance.now() - began).toBeLessThan(5000);
    }));

  it('wait ends with its time-out, or the signal, and the VM goes on', () =>
    withVm(async (vm) => {
      expect(await codeOf(vm.wait({ timeoutMs: 50 }))).toBe('TIMEOUT');
      expect(await codeOf(vm.wait({ signal: AbortSignal.timeout(50) }))).toBe('ABORTED');
      await vm.check();
    }));

  it('a VMM that was killed by someone is noticed by whatever is asked next', () =>
    withVm(async (vm) => {
      const { pid = 0 } = await vm.inspect();
      const running = vm.exec(['sleep', '100']);
      await running.pid;
      process.kill(pid, 'SIGKILL');
      expect(await codeOf(running)).toMatch(/^(AGENT_GONE|VMM_GONE)$/);
      expect(await vm.wait()).toMatchObject({ signal: 'SIGKILL' });
      expect(await vm.inspect()).toMatchObject({ status: 'stopped', pids: [] });
      expect(await codeOf(vm.check())).toBe('VMM_GONE');
      await vm.stop();
    }));

  it('remove may be repeated, and called twice at once', () =>
    withVm(async (vm) => {
      await Promise.all([vm.remove(), vm.remove()]);
      await vm.remove();
      expect(await execCode(vm)).toBe('AGENT_GONE');
      expect(await codeOf(vm.inspect())).toBe('NOT_FOUND');
    }));

  it('remove of a VM that is gone leaves a later one of the same name alone', async () => {
    const first = await Vm.create({ hypervisor: 'mock', name: 'again' });
    await first.remove();
    const second = await Vm.create({ hypervisor: 'mock', name: 'again' });
    try {
      await first.remove();
      expect((await second.exec(['echo', 'still here'])).stdout).toBe('still here\n');
      expect((await second.inspect()).id).toBe(second.id);
    } finally {
      await second.remove();
    }
  });

  it('remove works on a VM whose files were spoilt', () =>
    withVm(async (vm) => {
      const { folders } = await vm.inspect();
      writeFileSync(`${folders.state}/state.json`, '{');
      writeFileSync(`${folders.state}/config.json`, '');
    }));
});

describe('handles', () => {
  it('disposing the owner removes the VM', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'box' });
    const { pid = 0 } = await vm.inspect();
    const identity = identify(pid);
    await vm[Symbol.asyncDispose]();
    expect(identity !== undefined && isAlive(identity)).toBe(false);
    expect(await codeOf(Vm.connect('box'))).toBe('NOT_FOUND');
    await vm[Symbol.asyncDispose]();
  });

  it('disposing a handle that connected lets go only', () =>
    withVm(async (vm) => {
      const other = await Vm.connect('box');
      expect((await other.exec(['echo', 'two'])).stdout).toBe('two\n');
      await other[Symbol.asyncDispose]();
      expect(await execCode(other)).toBe('AGENT_GONE');
      expect((await vm.exec(['echo', 'one'])).stdout).toBe('one\n');
    }));

  it('eight at once; a ninth is told in its time that all channels are busy, or waits for its turn', () =>
    withVm(async (vm) => {
      const others = await Promise.all(Array.from({ length: 7 }, () => Vm.connect('box')));
      expect(await codeOf(Vm.connect('box', { timeoutMs: 200 }))).toBe('BUSY');
      const ninth = Vm.connect('box');
      const answers = await Promise.all([vm, ...others].map((one, index) => one.exec(['echo', `${index}`])));
      expect(answers.map(({ stdout }) => stdout.trim())).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
      await others[0]?.close();
      const late = await ninth;
      expect((await late.exec(['echo', 'late'])).stdout).toBe('late\n');
      await Promise.all([late, ...others].map((one) => one.close()));
    }));

  it('close leaves the VM running, and it can be connected to again', () =>
    withVm(async (vm) => {
      await vm.close();
      await vm.close();
      const other = await Vm.connect('box');
      await other.check();
      await other.close();
    }));

  it('another handle stops it; this one notices', () =>
    withVm(async (vm) => {
      const other = await Vm.connect('box');
      await other.stop();
      expect(await vm.wait({ timeoutMs: 5000 })).toMatchObject({ code: 0 });
      expect(await codeOf(vm.check())).toBe('VMM_GONE');
    }));

  it('only the owner can detach', () =>
    withVm(async () => {
      const other = await Vm.connect('box');
      try {
        expect(await codeOf(other.detach())).toBe('INVALID_STATE');
      } finally {
        await other.close();
      }
    }));

  it('a paused VM is shown as paused, and goes on where it was', () =>
    withVm(async (vm) => {
      await vm.pause();
      expect(await vm.inspect()).toMatchObject({ status: 'paused' });
      expect(await codeOf(vm.agent.ping({ timeoutMs: 200 }))).toBe('TIMEOUT');
      await vm.resume();
      expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
    }));
});
