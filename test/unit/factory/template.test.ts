import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeTemplate } from '../../../src/factory/template-manifest.ts';
import { TemplateStore } from '../../../src/factory/template-store.ts';
import { prune } from '../../../src/sandbox/prune.ts';
import { inspectTemplate, listTemplates, removeTemplate } from '../../../src/sandbox/template.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places, sealKeyFile, stagingName } from '../../../src/state/paths.ts';
import { bootId } from '../../../src/state/process-identity.ts';
import { startTemplateMaker, until } from '../../fakes/child.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

const mock = { hypervisor: 'mock', memoryMiB: 256 } as const;
const names = async (): Promise<string[]> => (await Vm.list()).map(({ name }) => name);
const templates = (): string[] => (existsSync(places().templates) ? readdirSync(places().templates) : []);
const inTmpfs = (id: string): string => `/dev/shm/polyvisor-${process.geteuid?.() ?? 0}-${id}`;

afterEach(async () => {
  for (const { name } of await listTemplates()) await removeTemplate(name);
  rmSync(sealKeyFile(places()), { force: true });
  writeFileSync(sealKeyFile(places()), Buffer.alloc(32, 0x5a), { mode: 0o600 });
});

it('is made once, cloned often, and removed while its clones go on', async () => {
  const said: string[] = [];
  const template = await Vm.template({
    ...mock,
    name: 'web',
    setup: async (guest) => void said.push((await guest.exec(['echo', 'warm'])).stdout),
  });
  expect(said).toEqual(['warm\n']);
  expect(await names()).toEqual([]);
  expect(template.info).toMatchObject({ name: 'web', hypervisor: 'mock', shared: false });
  const clones = await Promise.all([template.clone(), template.clone({ name: 'second' })]);
  try {
    expect(clones[0].id).not.toBe(clones[1].id);
    expect(clones[1].name).toBe('second');
    await template.remove();
    expect(templates()).toEqual([]);
    expect(existsSync(template.info.folder)).toBe(false);
    for (const clone of clones) {
      expect((await clone.exec(['echo', 'on'])).stdout).toBe('on\n');
      // Once when the template's own agent, which no clone of the mock shares, began; once as a clone.
      expect((await clone.agent.info()).reseeds).toBe(1);
    }
    expect(await codeOf(template.clone())).toBe('NOT_FOUND');
  } finally {
    for (const clone of clones) await clone.remove();
  }
});

it('more vCPUs and memory than the template has are plugged, and detached clones outlive this process', async () => {
  const template = await Vm.template({ ...mock, maxVcpus: 4 });
  const clone = await template.clone({ vcpus: 3, memoryMiB: 512, detached: true });
  try {
    expect(clone.detached).toBe(true);
    expect(await clone.inspect()).toMatchObject({ vcpus: 3, memoryMiB: 512 });
  } finally {
    await clone.remove();
  }
});

it('one whose name is taken, or that can not be booted or set up, leaves nothing', async () => {
  await Vm.template({ ...mock, name: 'web' });
  const before = templates();
  expect(await codeOf(Vm.template({ ...mock, name: 'web' }))).toBe('NAME_IN_USE');
  expect(await codeOf(Vm.template({ ...mock, name: '../x' }))).toBe('INVALID_NAME');
  expect(await codeOf(Vm.template({ ...mock, name: 'a', memory: 'ram' as 'disk' }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(Vm.template({ ...mock, name: 'a', setup: 1 as never }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(Vm.template({ hypervisor: 'acrn', name: 'a' }))).toBe('UNSUPPORTED');
  const broken = async (): Promise<void> => {
    throw new Error('the set-up has failed');
  };
  await expect(Vm.template({ ...mock, name: 'a', setup: broken })).rejects.toThrow('the set-up has failed');
  for (const operation of ['start', 'pause', 'save']) {
    const fails = { ...mock, name: 'a', hypervisorParams: [{ key: 'fail', value: operation }] };
    expect(await codeOf(Vm.template(fails))).toBe('VMM_FAILED');
  }
  expect(templates()).toEqual(before);
  expect(await names()).toEqual([]);
  expect(await codeOf(Vm.create({ ...mock, template: 'web', start: false }))).toBe('INVALID_ARGUMENT');
});

it('of two who make one of the same name one does', async () => {
  const made = await Promise.allSettled([Vm.template({ ...mock, name: 'web' }), Vm.template({ ...mock, name: 'web' })]);
  expect(made.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  expect((await listTemplates()).map(({ name, state }) => [name, state])).toEqual([['web', 'ready']]);
});

it('is on a disk if that is wanted, and then goes where its folder goes', async () => {
  const { info } = await Vm.template({ ...mock, name: 'web', memory: 'disk' });
  expect(info).toMatchObject({ memory: 'disk', folder: path.join(places().templates, 'web', 'data') });
  const clone = await Vm.create({ template: 'web' });
  await clone.remove();
});

it('tmpfs without room is told, and nothing is left', async () => {
  const host = Math.floor(Number(/MemTotal:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1024);
  const { bavail, bsize } = statfsSync('/dev/shm');
  const tmpfsMiB = Math.floor((bavail * bsize) / 2 ** 20);
  // Room for all that this host's guests may have is no fault to be told.
  if (tmpfsMiB < host) {
    const error = await failure(Vm.template({ ...mock, memoryMiB: host, memory: 'tmpfs' }));
    expect(error).toMatchObject({ code: 'IO', facts: { errno: 'ENOSPC' } });
    expect(error.message).toContain(`/dev/shm has ${tmpfsMiB} MiB`);
  }
  expect(templates()).toEqual([]);
});

describe('a template that can not be used is refused, and no VM is left', () => {
  let folder: string;
  let manifestFile: string;
  beforeEach(async () => {
    ({ folder } = (await Vm.template({ ...mock, name: 'web' })).info);
    manifestFile = path.join(places().templates, 'web', 'template.json');
  });
  const remade = async (change: object): Promise<void> => {
    const store = new TemplateStore();
    await writeTemplate(store.folder('web'), { ...(await store.read('web')), ...change }, places());
  };
  const machine = (): string => path.join(folder, 'mock.json');

  it.each<[string, () => void | Promise<void>, string]>([
    ['lacks a file', () => rmSync(machine()), 'FILE_NOT_FOUND'],
    ['lost its memory when the host was rebooted', () => rmSync(folder, { recursive: true }), 'FILE_NOT_FOUND'],
    ['has a file that was cut short', () => truncateSync(machine(), 5), 'FILE_INVALID'],
    ['has a file that has grown', () => appendFileSync(machine(), ' '), 'FILE_INVALID'],
    [
      'has a file with another byte',
      () => writeFileSync(machine(), readFileSync(machine(), 'utf8').replace('256', '257')),
      'FILE_INVALID',
    ],
    ['has no manifest', () => rmSync(manifestFile), 'FILE_NOT_FOUND'],
    ['has an empty manifest', () => writeFileSync(manifestFile, ''), 'FILE_INVALID'],
    [
      'has a manifest that was changed',
      () => writeFileSync(manifestFile, readFileSync(manifestFile, 'utf8').replace('256', '257')),
      'FILE_INVALID',
    ],
    ['was made with another key', () => rmSync(sealKeyFile(places())), 'FILE_INVALID'],
    ['was made by another polyvisor', () => remade({ version: '0.0.1' }), 'FILE_INVALID'],
    ['leads to a folder of somebody else', () => remade({ memory: 'tmpfs', dataFolder: '/etc' }), 'FILE_INVALID'],
    ['is of another schema', () => remade({ schema: 2 }), 'FILE_INVALID'],
    ['was booted from a file that is gone', () => remade({ assets: { '/nowhere': { bytes: 1 } } }), 'FILE_NOT_FOUND'],
    ['was booted from a file that has changed', () => remade({ assets: { '/bin/sh': { bytes: 1 } } }), 'FILE_INVALID'],
  ])('one that %s', async (_, damage, code) => {
    await damage();
    expect(await codeOf(Vm.create({ template: 'web' }))).toBe(code);
    expect(await names()).toEqual([]);
    const [listed] = await listTemplates();
    if (!/polyvisor/.test(_)) expect(listed).toMatchObject({ name: 'web', state: 'broken', problem: { code } });
    await removeTemplate('web');
    expect(templates()).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  it('one that is not there, with a name that is near', async () => {
    expect(await failure(inspectTemplate('wed'))).toMatchObject({ code: 'NOT_FOUND', advice: 'Did you mean web?' });
    expect(await codeOf(removeTemplate('wed'))).toBe('NOT_FOUND');
    expect(await codeOf(removeTemplate('../web'))).toBe('INVALID_NAME');
  });

  it('a file that was only touched is the same one', async () => {
    utimesSync(machine(), 1, 1);
    const clone = await Vm.create({ template: 'web' });
    await clone.remove();
  });
});

it('what a killed process had begun is swept away, tmpfs included', async () => {
  const id = 'abcdefabcdef';
  const by = { pid: spawnSync('/bin/true').pid, startTime: 1, bootId: bootId() };
  for (const what of ['new', 'gone'] as const) {
    mkdirSync(path.join(places().templates, stagingName(what, by, id)), { recursive: true });
    mkdirSync(inTmpfs(id), { mode: 0o700 });
    await new TemplateStore().sweep();
    expect(templates()).toEqual([]);
    expect(existsSync(inTmpfs(id))).toBe(false);
  }
});

it('the key is ours alone, and one that is open to others is not used', async () => {
  await Vm.template({ ...mock, name: 'web' });
  const file = sealKeyFile(places());
  expect(statSync(file).mode & 0o777).toBe(0o600);
  writeFileSync(file, 'short');
  expect(await codeOf(inspectTemplate('web'))).toBe('STATE_INVALID');
  execFileSync('chmod', ['644', file]);
  expect(await codeOf(inspectTemplate('web'))).toBe('PERMISSION');
});

it.each([
  ['start', 'start'],
  ['pause', 'set-up'],
  ['save', 'set-up'],
])(
  'a maker that is killed at the %s leaves no VM, and nothing that the next look does not clear',
  async (operation, phase) => {
    const before = readdirSync('/dev/shm');
    const maker = startTemplateMaker(operation);
    await maker.phase(phase);
    await maker.kill();
    await until('its VM is gone', async () => {
      await prune();
      return (await names()).length === 0;
    });
    await new TemplateStore().sweep();
    expect(templates()).toEqual([]);
    // Other tests may have their own there.
    const mine = readdirSync('/dev/shm').filter(
      (name) => !before.includes(name) && existsSync(path.join('/dev/shm', name, 'mock.json')),
    );
    expect(mine).toEqual([]);
    await (await Vm.template({ ...mock, name: 'half-made' })).remove();
  },
  60_000,
);
