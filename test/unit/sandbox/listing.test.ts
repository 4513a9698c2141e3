import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { inspectVm, listVms, removeVm } from '../../../src/sandbox/inspect.ts';
import { logPath } from '../../../src/sandbox/logs.ts';
import { prune } from '../../../src/sandbox/prune.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { bootId, identify, ownIdentity } from '../../../src/state/process-identity.ts';
import { places, stagingName, vmFiles } from '../../../src/state/paths.ts';
import { VmStore } from '../../../src/state/store.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

/** A process that was, and is no more: no boot has this id. */
const dead = { pid: 4242, startTime: 1, bootId: '00000000-0000-4000-8000-000000000000' };
const inVms = (name: string): string => path.join(places().vms, name);
const summary = async (name: string): Promise<string | undefined> =>
  (await listVms()).find((vm) => vm.name === name)?.status;

afterEach(() => {
  for (const at of [places().vms, places().runtime]) {
    for (const name of readdirSync(at)) rmSync(path.join(at, name), { recursive: true, force: true });
  }
});

describe('connect', () => {
  it('to a VM that there is not is NOT_FOUND', async () => {
    expect(await failure(Vm.connect('nobody'))).toMatchObject({ code: 'NOT_FOUND', facts: { name: 'nobody' } });
  });

  it.each(['creating', 'created', 'running', 'paused', 'stopped', 'failed'] as const)(
    'to one that is %s on disk and has no process is NOT_RUNNING',
    async (status) => {
      await new VmStore().create({ name: 'left', hypervisor: 'mock', status, owner: dead, vmm: dead });
      expect(await codeOf(Vm.connect('left'))).toBe('NOT_RUNNING');
      expect(['stopped', 'failed']).toContain(await summary('left'));
    },
  );

  it('to one whose record is broken is STATE_INVALID', async () => {
    mkdirSync(inVms('broken'));
    writeFileSync(vmFiles.state(inVms('broken')), '{"schema":1}');
    expect(await codeOf(Vm.connect('broken'))).toBe('STATE_INVALID');
    expect(await codeOf(inspectVm('broken'))).toBe('STATE_INVALID');
  });

  it('to one that is still being made is NOT_RUNNING', async () => {
    await new VmStore().create({ name: 'early', hypervisor: 'mock' });
    expect(await codeOf(Vm.connect('early'))).toBe('NOT_RUNNING');
    expect(await summary('early')).toBe('creating');
  });

  it('that takes too long, or is aborted, says so', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'still' });
    try {
      const { pid = 0 } = await vm.inspect();
      process.kill(pid, 'SIGSTOP');
      expect(await codeOf(Vm.connect('still', { timeoutMs: 200 }))).toBe('TIMEOUT');
      expect(await codeOf(Vm.connect('still', { signal: AbortSignal.timeout(200) }))).toBe('ABORTED');
      process.kill(pid, 'SIGCONT');
      await (await Vm.connect('still', { timeoutMs: 20_000 })).close();
    } finally {
      await vm.remove();
    }
  });
});

describe('list', () => {
  it('is empty when there is nothing, not even a folder', async () => {
    expect(await listVms()).toEqual([]);
    const home = process.env['POLYVISOR_HOME'];
    process.env['POLYVISOR_HOME'] = '/nonexistent/polyvisor';
    try {
      expect(await Vm.list()).toEqual([]);
    } finally {
      process.env['POLYVISOR_HOME'] = home;
    }
  });

  it('never fails because of what lies there', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'good' });
    try {
      const spoilt: Record<string, string> = {
        empty: '',
        'half-json': '{"schema": 1, "na',
        'no-object': '[]',
        'null-record': 'null',
        newer: '{"schema": 99}',
        'bad-pid': JSON.stringify({ ...(await new VmStore().read('good')), name: 'bad-pid', vmm: { pid: 0 } }),
        'other-name': JSON.stringify(await new VmStore().read('good')),
      };
      for (const [name, text] of Object.entries(spoilt)) {
        mkdirSync(inVms(name));
        writeFileSync(vmFiles.state(inVms(name)), text);
      }
      mkdirSync(inVms('no-record'));
      mkdirSync(inVms('record-is-folder'));
      mkdirSync(vmFiles.state(inVms('record-is-folder')));
      mkdirSync(inVms('record-is-link'));
      symlinkSync('/etc/passwd', vmFiles.state(inVms('record-is-link')));
      writeFileSync(inVms('a-file'), 'x');
      mkdirSync(inVms('not a name'));
      mkdirSync(inVms(stagingName('new', ownIdentity(), '0123456789ab')));

      const list = await listVms();
      const byStatus = (status: string): string[] =>
        list.filter((one) => one.status === status).map(({ name }) => name);
      expect(byStatus('running')).toEqual(['good']);
      expect(byStatus('broken')).toEqual(
        [...Object.keys(spoilt), 'no-record', 'record-is-folder', 'record-is-link', 'a-file'].toSorted(),
      );
      for (const one of list.filter(({ status }) => status === 'broken')) expect(one.problem).toBeTypeOf('string');
      // Each of them can be removed by force, and by force only.
      for (const name of byStatus('broken')) {
        expect(await codeOf(removeVm(name))).toBe('STATE_INVALID');
        await removeVm(name, { force: true });
      }
      expect((await listVms()).map(({ name }) => name)).toEqual(['good']);
    } finally {
      await vm.remove();
    }
  });

  it('shows a VM whose configuration cannot be read', async () => {
    const record = await new VmStore().create({ name: 'bare', hypervisor: 'mock', status: 'stopped' });
    for (const text of [undefined, '', 'null', '[]', '{"schema":2}']) {
      if (text !== undefined) writeFileSync(vmFiles.config(inVms('bare')), text);
      expect(await listVms()).toMatchObject([{ name: 'bare', id: record.id, status: 'stopped' }]);
      expect(await codeOf(inspectVm('bare'))).toBe('STATE_INVALID');
    }
  });

  it('shows a VM of a hypervisor that this version does not know', async () => {
    await new VmStore().create({ name: 'foreign', hypervisor: 'bhyve', status: 'stopped' });
    expect(await listVms()).toMatchObject([{ name: 'foreign', hypervisor: 'bhyve', status: 'stopped' }]);
  });

  it('does not take the pid of another process for a VMM', async () => {
    const reused = { pid: process.pid, startTime: 1, bootId: bootId() };
    await new VmStore().create({ name: 'reused', hypervisor: 'mock', status: 'running', vmm: reused });
    expect(await summary('reused')).toBe('stopped');
    await removeVm('reused');
    expect(identify(process.pid)).toBeDefined();
  });
});

describe('removeVm', () => {
  it('of nothing is NOT_FOUND, by force too; of no name INVALID_NAME', async () => {
    expect(await codeOf(removeVm('nobody'))).toBe('NOT_FOUND');
    expect(await codeOf(removeVm('nobody', { force: true }))).toBe('NOT_FOUND');
    expect(await codeOf(removeVm('../state', { force: true }))).toBe('INVALID_NAME');
  });

  it('of a VM that runs or is paused needs force', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'busy' });
    try {
      expect(await codeOf(removeVm('busy'))).toBe('INVALID_STATE');
      await vm.pause();
      expect(await codeOf(removeVm('busy'))).toBe('INVALID_STATE');
      await vm.resume();
      await removeVm('busy', { force: true });
      expect(await vm.wait({ timeoutMs: 5000 })).toMatchObject({ signal: 'SIGKILL' });
      expect(await listVms()).toEqual([]);
    } finally {
      await vm.remove();
    }
  });

  it('of one that is being made is BUSY, by force too, and does not disturb its making', async () => {
    const answers: Promise<string>[] = [];
    const vm = await Vm.create({
      hypervisor: 'mock',
      name: 'early',
      onEvent: (event) => {
        if (event.type === 'phase' && event.phase === 'start')
          answers.push(codeOf(removeVm('early')), codeOf(removeVm('early', { force: true })));
      },
    });
    try {
      expect(await Promise.all(answers)).toEqual(['BUSY', 'BUSY']);
      await vm.check();
    } finally {
      await vm.remove();
    }
  });

  it.each(['', 'null', '{"schema":2}'])('by force ends a VM whose configuration is %j', async (text) => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'spoilt' });
    try {
      writeFileSync(vmFiles.config(inVms('spoilt')), text);
      await removeVm('spoilt', { force: true });
      expect(await vm.wait({ timeoutMs: 5000 })).toMatchObject({ signal: 'SIGKILL' });
      expect(await listVms()).toEqual([]);
    } finally {
      await vm.remove();
    }
  });

  it('of a stopped VM needs no force', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'done' });
    await vm.stop();
    expect(await logPath('done', 'vmm')).toContain('vmm.log');
    await removeVm('done');
    expect(await codeOf(logPath('done', 'vmm'))).toBe('NOT_FOUND');
    await vm.remove();
  });
});

describe('prune', () => {
  it('removes what dead processes left, and nothing else', async () => {
    const store = new VmStore();
    const vm = await Vm.create({ hypervisor: 'mock', name: 'alive' });
    try {
      await store.create({ name: 'half-made', hypervisor: 'mock', owner: dead });
      await store.create({ name: 'orphan', hypervisor: 'mock', status: 'running', owner: dead, vmm: dead });
      await store.create({ name: 'mine', hypervisor: 'mock' });
      await store.create({ name: 'detached', hypervisor: 'mock', status: 'stopped', detached: true });
      mkdirSync(inVms('broken'));
      mkdirSync(inVms(stagingName('gone', dead, '0123456789ab')));
      mkdirSync(path.join(places().runtime, '0123456789ab'));
      expect(await prune('alive')).toEqual([]);
      expect(await prune('nobody')).toEqual([]);
      expect(await prune('half-made')).toEqual(['half-made']);
      expect(await prune()).toEqual(['orphan']);
      expect((await listVms()).map(({ name }) => name)).toEqual(['alive', 'broken', 'detached', 'mine']);
      expect(readdirSync(places().vms).filter((name) => name.startsWith('.'))).toEqual([]);
      expect(readdirSync(places().runtime)).not.toContain('0123456789ab');
      expect(await codeOf(prune('broken'))).toBe('STATE_INVALID');
      await vm.check();
    } finally {
      await vm.remove();
    }
  });
});
