import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { places, stagingName } from '../../../src/state/paths.ts';
import { identify, ownIdentity } from '../../../src/state/process-identity.ts';
import { VmStore } from '../../../src/state/store.ts';

let home = '';
let store: VmStore;
beforeEach(() => {
  home = mkdtempSync(path.join(tmpdir(), 'polyvisor-store-'));
  store = new VmStore(places({ POLYVISOR_HOME: home }));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const vm = (name: string): { name: string; hypervisor: string } => ({ name, hypervisor: 'qemu' });
const stateFile = (name: string): string => path.join(home, 'state/vms', name, 'state.json');
const mode = (file: string): number => statSync(file).mode & 0o777;
const everything = (): string[] => readdirSync(home, { recursive: true }).map(String).toSorted();

describe('create', () => {
  test('makes both folders and the record, for us alone', async () => {
    const record = await store.create({ ...vm('one'), accel: 'tcg', driver: { schema: 1, x: [1] } });
    expect(await store.read('one')).toEqual(record);
    expect(record).toMatchObject({
      schema: 1,
      status: 'creating',
      detached: false,
      owner: ownIdentity(),
      accel: 'tcg',
    });
    expect(record.id).toMatch(/^[0-9a-f]{12}$/);
    expect(record.runtimeFolder).toBe(path.join(home, 'run', record.id));
    expect([mode(store.folder('one')), mode(record.runtimeFolder), mode(stateFile('one'))]).toEqual([
      0o700, 0o700, 0o600,
    ]);
  });

  test('of many who want one name, one gets it and nothing is left of the others', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => store.create(vm('one'))));
    expect(outcomes.filter((it) => it.status === 'fulfilled')).toHaveLength(1);
    for (const it of outcomes) if (it.status === 'rejected') expect(it.reason).toMatchObject({ code: 'NAME_IN_USE' });
    expect(readdirSync(path.join(home, 'state/vms'))).toEqual(['one']);
    expect(readdirSync(path.join(home, 'run'))).toHaveLength(1);
  });

  test.each(['', '.', '..', 'a/b', '../x', 'a b', '.new-1', 'x'.repeat(64), '-a'])(
    'name %j is refused, and nothing made',
    async (name) => {
      await expect(store.create(vm(name))).rejects.toMatchObject({ code: 'INVALID_NAME' });
      await expect(store.read(name)).rejects.toMatchObject({ code: 'INVALID_NAME' });
      await expect(store.remove(name)).rejects.toMatchObject({ code: 'INVALID_NAME' });
      expect(everything()).toEqual([]);
    },
  );

  test('a name taken by a foreign file is in use', async () => {
    await store.create(vm('one'));
    writeFileSync(path.join(home, 'state/vms/two'), '');
    await expect(store.create(vm('two'))).rejects.toMatchObject({ code: 'NAME_IN_USE' });
  });

  test('a place that is a link is refused', async () => {
    symlinkSync('/tmp', path.join(home, 'state'));
    await expect(store.create(vm('one'))).rejects.toMatchObject({ code: 'PERMISSION' });
  });
});

describe('read', () => {
  test('there is none', async () => {
    await expect(store.read('none')).rejects.toMatchObject({ code: 'NOT_FOUND', facts: { name: 'none' } });
  });

  test.each([
    ['not JSON', '{'],
    ['empty', ''],
    ['a list', '[]'],
    ['null', 'null'],
    ['no schema', '{}'],
  ])('%s', async (_, text) => {
    await store.create(vm('one'));
    writeFileSync(stateFile('one'), text);
    await expect(store.read('one')).rejects.toMatchObject({ code: 'STATE_INVALID' });
  });

  test.each([
    ['id', '../../x'],
    ['status', 'happy'],
    ['runtimeFolder', 'relative'],
    ['vmm', { pid: 1, startTime: 1, bootId: 'x' }],
    ['owner', { pid: -5, startTime: 1, bootId: 'x' }],
    ['detached', 'no'],
    ['name', 'two'],
    ['createdAt', 'yesterday'],
    ['ended', 'yes'],
  ])('a wrong %s', async (field, value) => {
    const record = await store.create(vm('one'));
    writeFileSync(stateFile('one'), JSON.stringify({ ...record, [field]: value }));
    await expect(store.read('one')).rejects.toMatchObject({ code: 'STATE_INVALID' });
  });

  test('a newer schema is refused, with advice', async () => {
    const record = await store.create(vm('one'));
    writeFileSync(stateFile('one'), JSON.stringify({ ...record, schema: 2 }));
    const refused = { code: 'STATE_INVALID', advice: 'Use the polyvisor that made this VM, or a newer one.' };
    await expect(store.read('one')).rejects.toMatchObject(refused);
    await expect(store.update('one', { status: 'running' })).rejects.toMatchObject(refused);
  });

  test('a link, a folder and a giant in place of the file', async () => {
    await store.create(vm('one'));
    truncateSync(stateFile('one'), 5 * 2 ** 20);
    await expect(store.read('one')).rejects.toMatchObject({ code: 'STATE_INVALID' });
    rmSync(stateFile('one'));
    symlinkSync('/etc/passwd', stateFile('one'));
    await expect(store.read('one')).rejects.toMatchObject({ code: 'STATE_INVALID' });
    rmSync(stateFile('one'));
    await expect(store.read('one')).rejects.toMatchObject({ code: 'STATE_INVALID' });
  });
});

describe('update', () => {
  test('changes what is named, and neither identity nor what a later version wrote', async () => {
    const record = await store.create(vm('one'));
    writeFileSync(stateFile('one'), JSON.stringify({ ...record, later: true }));
    const updated = await store.update('one', { status: 'running', id: 'ffffffffffff', name: 'two' });
    expect(updated).toEqual({ ...record, later: true, status: 'running' });
    expect(JSON.parse(readFileSync(stateFile('one'), 'utf8'))).toEqual(updated);
    expect(readdirSync(store.folder('one')).toSorted()).toEqual(['lock-token', 'state.json']);
  });

  test('many at once lose nothing', async () => {
    await store.create({ ...vm('one'), driver: [] });
    await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        store.update('one', (before) => ({ driver: [...(before.driver as number[]), n] })),
      ),
    );
    expect((await store.read('one')).driver).toHaveLength(10);
  });

  test('of a VM that is not there', async () => {
    await expect(store.update('none', {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(everything()).toEqual([]);
  });
});

describe('list', () => {
  test('is empty without a home, and makes none', async () => {
    rmSync(home, { recursive: true });
    expect(await store.list()).toEqual([]);
    expect(() => statSync(home)).toThrow('ENOENT');
  });

  test('shows what it can and tells what is broken', async () => {
    const vms = path.join(home, 'state/vms');
    const good = await store.create(vm('good'));
    await store.create(vm('bad'));
    writeFileSync(stateFile('bad'), 'x');
    mkdirSync(path.join(vms, 'empty'));
    writeFileSync(path.join(vms, 'file'), '');
    symlinkSync('/nowhere', path.join(vms, 'link'));
    mkdirSync(path.join(vms, '.new-half-made'));
    const listed = await store.list();
    expect(listed.map((it) => [it.name, it.record, it.broken?.code])).toEqual([
      ['bad', undefined, 'STATE_INVALID'],
      ['empty', undefined, 'STATE_INVALID'],
      ['file', undefined, 'STATE_INVALID'],
      ['good', good, undefined],
      ['link', undefined, 'STATE_INVALID'],
    ]);
  });

  test('holds while VMs come and go', async () => {
    const churn = Array.from({ length: 5 }, async (_, n) => {
      await store.create(vm(`vm${n}`));
      await store.remove(`vm${n}`);
    });
    for (let round = 0; round < 20; round++) {
      for (const it of await store.list()) expect(it.broken).toBeUndefined();
    }
    await Promise.all(churn);
    expect(await store.list()).toEqual([]);
  });
});

describe('remove', () => {
  test('takes both folders, and may be repeated', async () => {
    const record = await store.create(vm('one'));
    writeFileSync(path.join(record.runtimeFolder, 'console.log'), 'x');
    await Promise.all([store.remove('one'), store.remove('one')]);
    await store.remove('one');
    expect(everything()).toEqual(['run', 'state', 'state/vms']);
    await store.create(vm('one'));
  });

  test('removes broken entries, and follows no link out', async () => {
    const precious = path.join(home, 'precious');
    writeFileSync(precious, '');
    const record = await store.create(vm('one'));
    symlinkSync(home, path.join(record.runtimeFolder, 'out'));
    writeFileSync(stateFile('one'), JSON.stringify({ ...record, runtimeFolder: home }));
    await store.remove('one');
    expect(statSync(precious).isFile()).toBe(true);
    expect(await store.list()).toEqual([]);
  });
});

test('sweep clears what the dead left, and leaves the living alone', async () => {
  await store.create(vm('one'));
  const vms = path.join(home, 'state/vms');
  const child = spawn('sleep', ['100']);
  const theirs = identify(child.pid ?? 0);
  if (theirs === undefined) throw new Error('no child');
  const staged = stagingName('new', theirs, '0123456789ab');
  mkdirSync(path.join(vms, staged));
  mkdirSync(path.join(home, 'run/0123456789ab'));
  await store.sweep();
  expect(readdirSync(vms)).toContain(staged);
  child.kill('SIGKILL');
  await once(child, 'close');
  await store.sweep();
  expect(readdirSync(vms)).toEqual(['one']);
  expect(readdirSync(path.join(home, 'run'))).not.toContain('0123456789ab');
});
