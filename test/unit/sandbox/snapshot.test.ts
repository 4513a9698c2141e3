import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Device } from '../../../src/hypervisors/device.ts';
import { deviceKinds } from '../../../src/hypervisors/device.ts';
import { requireSavable } from '../../../src/hypervisors/savable.ts';
import { readManifest, type SnapshotManifest, writeManifest } from '../../../src/sandbox/snapshot-manifest.ts';
import { inspectSnapshot, listSnapshots, removeSnapshot, snapshotFolder } from '../../../src/sandbox/snapshot-store.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places, sealKeyFile, vmmFiles } from '../../../src/state/paths.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

let scratch: string;
let folder: string;
beforeEach(() => {
  scratch = mkdtempSync(path.join(tmpdir(), 'polyvisor-saved-'));
  folder = path.join(scratch, 'saved');
});
afterEach(() => {
  rmSync(scratch, { recursive: true, force: true });
  writeFileSync(sealKeyFile(places()), Buffer.alloc(32, 0x5a), { mode: 0o600 });
});

const disk = (readOnly: boolean): Device => ({ kind: 'block', id: 'd1', path: '/disk', format: 'raw', readOnly });
const cpu: Device = { kind: 'cpu', count: 1 };
const net: Device = { kind: 'net', id: 'n1' };

describe('what can be saved', () => {
  const refused = (devices: readonly Device[], kinds: readonly Device['kind'][]): string => {
    try {
      requireSavable(devices, new Set(kinds));
      return '';
    } catch (error) {
      return (error as { rawMessage: string }).rawMessage;
    }
  };

  it('is a VM of vCPUs, memory, disks that it only reads and devices that are carried', () => {
    expect(refused([cpu, { kind: 'memory', sizeMiB: 128 }], [])).toBe('');
    expect(refused([disk(true), net, cpu], ['block', 'net'])).toBe('');
  });

  it('is no VM with others, which are named', () => {
    expect(refused([disk(false), net], ['block'])).toBe(
      "the guest may write to the disk d1, and a snapshot holds no disks; the state of n1 (net) can't be saved",
    );
    expect(refused([disk(false)], [])).toBe("the state of d1 (block) can't be saved");
    expect(refused([disk(false)], deviceKinds)).toContain('d1');
  });
});

type Manifest = Record<string, unknown>;

/** A VM of the mock that is saved and gone. */
async function saved(): Promise<void> {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'saved' });
  try {
    await vm.snapshot(folder);
  } finally {
    await vm.remove();
  }
}

it('holds a machine that goes on, whoever listens', async () => {
  await saved();
  expect(readdirSync(folder).toSorted()).toEqual(['mock.json', 'snapshot.json']);
  const vm = await Vm.restore(folder, { name: 'again' });
  expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
  await vm.remove();
});

it('a VM with a disk that it may write is not saved, goes on, and leaves no folder', async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'writes' });
  try {
    const { folders } = await vm.inspect();
    const file = vmmFiles.machine(folders.runtime);
    const machine = JSON.parse(readFileSync(file, 'utf8')) as { devices: Device[] };
    writeFileSync(file, JSON.stringify({ ...machine, devices: [disk(false)] }));
    expect(await failure(vm.snapshot(folder))).toMatchObject({
      code: 'UNSUPPORTED',
      advice: 'Unplug d1 first; a disk can be plugged again as one that is only read.',
      facts: { operation: 'save' },
    });
    expect(readdirSync(scratch)).toEqual([]);
    expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
  } finally {
    await vm.remove();
  }
});

describe('a snapshot that can not be used is refused, and nothing is left', () => {
  const edit = (change: (manifest: Manifest) => unknown) => () => {
    const file = path.join(folder, 'snapshot.json');
    writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')) as Manifest)));
  };
  /** Writes it anew as if it had been made so. */
  const remake = (more: Partial<SnapshotManifest>) => async () => {
    await writeManifest(folder, { ...(await readManifest(folder)), ...more });
  };
  const manifest = (text: string) => () => writeFileSync(path.join(folder, 'snapshot.json'), text);
  const asset = (): string => path.join(scratch, 'kernel');

  it.each<[string, () => void | Promise<void>, string]>([
    ['is not there', () => rmSync(folder, { recursive: true }), 'FILE_NOT_FOUND'],
    ['is a folder of something else', () => rmSync(path.join(folder, 'snapshot.json')), 'FILE_NOT_FOUND'],
    ['has an empty manifest', manifest(''), 'FILE_INVALID'],
    ['has a manifest that was cut short', manifest('{"schema": 1, "hypervi'), 'FILE_INVALID'],
    ['has a manifest of something else', manifest('{"schema": 1}'), 'FILE_INVALID'],
    ['has null for a manifest', manifest('null'), 'FILE_INVALID'],
    ['has a list for a manifest', manifest('[]'), 'FILE_INVALID'],
    ['is of another version', edit((it) => ({ ...it, schema: 2 })), 'FILE_INVALID'],
    ['has no configuration', edit((it) => ({ ...it, config: null })), 'FILE_INVALID'],
    ['has a configuration that is none', edit((it) => ({ ...it, config: { vcpus: 'many' } })), 'FILE_INVALID'],
    ['has no list of files', edit((it) => ({ ...it, assets: null })), 'FILE_INVALID'],
    ['has files without a digest', edit((it) => ({ ...it, assets: { '/bin/sh': 7 } })), 'FILE_INVALID'],
    ['has a size that is none', edit((it) => ({ ...it, size: { vcpus: -1 } })), 'FILE_INVALID'],
    ['is of an unknown hypervisor', remake({ hypervisor: 'other' }), 'UNKNOWN_HYPERVISOR'],
    ['is of a file that has changed', async () => remake({ assets: { [asset()]: '00' } })(), 'FILE_INVALID'],
    ['is of a file that is gone', async () => remake({ assets: { [`${asset()}-gone`]: '00' } })(), 'FILE_NOT_FOUND'],
    ['has no machine', () => rmSync(path.join(folder, 'mock.json')), 'FILE_NOT_FOUND'],
    ['has a damaged machine', () => writeFileSync(path.join(folder, 'mock.json'), '{"schema": 1, '), 'FILE_INVALID'],
    ['was written with another key', () => writeFileSync(sealKeyFile(places()), Buffer.alloc(32, 1)), 'PERMISSION'],
    ['is another VMM’s', remake({ hypervisor: 'qemu' }), 'HYPERVISOR_NOT_FOUND|FILE_NOT_FOUND|STATE_INVALID'],
  ])('one that %s', async (_, damage, code) => {
    await saved();
    writeFileSync(asset(), 'another');
    await damage();
    expect(await codeOf(Vm.restore(folder, { name: 'again' }))).toMatch(new RegExp(`^${code}`));
    expect(await Vm.list()).toEqual([]);
    expect([readdirSync(places().vms), readdirSync(places().runtime)]).toEqual([[], []]);
  });

  it('a manifest that is a folder', async () => {
    mkdirSync(path.join(folder, 'snapshot.json'), { recursive: true });
    expect(await codeOf(Vm.restore(folder))).toBe('FILE_UNREADABLE');
  });
});

describe('snapshots by name', () => {
  afterEach(async () => {
    for (const { name } of await listSnapshots()) await removeSnapshot(name);
  });

  it('are listed, inspected, restored and removed', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'saved' });
    try {
      await vm.snapshot('before');
      expect(await codeOf(vm.snapshot('before'))).toBe('NAME_IN_USE');
      expect(await codeOf(vm.snapshot('two words'))).toBe('INVALID_NAME');
      expect(await codeOf(vm.snapshot(''))).toBe('INVALID_ARGUMENT');
    } finally {
      await vm.remove();
    }
    expect(await listSnapshots()).toMatchObject([{ name: 'before', state: 'ready', info: { name: 'saved' } }]);
    expect(await inspectSnapshot('before')).toMatchObject({ hypervisor: 'mock', folder: snapshotFolder('before') });
    const again = await Vm.restore('before');
    await again.remove();
    expect(await failure(Vm.restore('befor'))).toMatchObject({ code: 'NOT_FOUND', advice: 'Did you mean before?' });
    for (const wrong of ['../x', './before', '/']) expect(await codeOf(removeSnapshot(wrong))).toBe('INVALID_NAME');
    expect(await codeOf(removeSnapshot('befor'))).toBe('NOT_FOUND');
    await removeSnapshot('before');
    expect(await listSnapshots()).toEqual([]);
  });

  it('one that is damaged is listed all the same, and does not hide the others', async () => {
    const vm = await Vm.create({ hypervisor: 'mock' });
    try {
      for (const name of ['one', 'two']) await vm.snapshot(name);
    } finally {
      await vm.remove();
    }
    writeFileSync(path.join(snapshotFolder('one'), 'snapshot.json'), '{');
    writeFileSync(path.join(snapshotFolder('two'), 'mock.json'), 'other');
    // A list does not read gigabytes of memory; who looks at one does.
    expect((await listSnapshots()).map(({ state }) => state)).toEqual(['broken', 'ready']);
    expect(await codeOf(inspectSnapshot('two'))).toBe('FILE_INVALID');
  });

  it('one of another host is restored when it is trusted, and never when it is damaged', async () => {
    await saved();
    writeFileSync(sealKeyFile(places()), Buffer.alloc(32, 1));
    expect(await codeOf(inspectSnapshot(folder))).toBe('PERMISSION');
    const vm = await Vm.restore(folder, { trust: true });
    await vm.remove();
    writeFileSync(path.join(folder, 'mock.json'), 'other');
    expect(await codeOf(Vm.restore(folder, { trust: true }))).toBe('FILE_INVALID');
  });
});
