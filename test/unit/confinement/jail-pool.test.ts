import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { ConfinementPlan } from '../../../src/confinement/confinement-plan.ts';
import { makeJail } from '../../../src/confinement/jail.ts';
import { keepJail, takeJail } from '../../../src/confinement/jail-pool.ts';
import type { JailMount } from '../../../src/confinement/jail-plan.ts';
import { places, vmFiles } from '../../../src/state/paths.ts';

const mount = (file: string, kind: 'file' | 'folder'): JailMount => ({
  path: file,
  kind,
  readOnly: true,
  what: 'host',
});

function plan(id: string, more: readonly JailMount[] = []): ConfinementPlan {
  const own = mount(path.join(places().runtime, id), 'folder');
  return {
    schema: 1,
    id,
    level: 'strict',
    uid: 7000,
    groups: [],
    noNewPrivileges: true,
    capabilities: [],
    namespaces: ['mount'],
    jail: {
      mounts: [mount('/usr/lib', 'folder'), mount('/usr/bin/vmm', 'file'), own, ...more],
      nodes: [{ path: '/dev/kvm', type: 'c', major: 10, minor: 232 }],
      copies: [],
    },
    missing: [],
  };
}

/** A VM's folder, with the jail that is planned. */
function made(one: ConfinementPlan): string {
  const folder = fresh(one);
  if (one.jail !== undefined) makeJail(vmFiles.jail(folder), one.jail, one.uid);
  return folder;
}

function fresh({ id }: ConfinementPlan): string {
  const folder = path.join(process.env['TMPDIR'] ?? '', id);
  mkdirSync(folder, { recursive: true });
  return folder;
}

const tree = (folder: string): string[] => readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();
const inode = (file: string): number => statSync(file).ino;

test('the next VM that sees the same gets the jail, with a place for its own folder', () => {
  const [one, other] = [plan('aaaaaaaaaaaa'), plan('bbbbbbbbbbbb')];
  const before = made(one);
  const number = inode(vmFiles.jail(before));
  keepJail(before, one);
  expect(readdirSync(before)).toEqual([]);
  const folder = fresh(other);
  expect(takeJail(folder, other)).toBe(true);
  expect(inode(vmFiles.jail(folder))).toBe(number);
  expect(tree(vmFiles.jail(folder))).toEqual(tree(vmFiles.jail(made(plan('bbbbbbbbbbbb')))));
  expect(takeJail(fresh(plan('cccccccccccc')), plan('cccccccccccc'))).toBe(false);
});

test('one that sees something else does not', () => {
  const one = plan('aaaaaaaaaaab');
  keepJail(made(one), one);
  const others = [
    plan('bbbbbbbbbbbc', [mount('/usr/share', 'folder')]),
    { ...plan('bbbbbbbbbbbc'), uid: undefined },
    { ...plan('bbbbbbbbbbbc'), jail: undefined },
  ];
  for (const other of others) expect(takeJail(fresh(other), other)).toBe(false);
  expect(takeJail(fresh(plan('bbbbbbbbbbbc')), plan('bbbbbbbbbbbc'))).toBe(true);
});

test('a jail that is not as it was made is no other VM’s', () => {
  const add = (change: (root: string) => void): boolean => {
    const one = plan('aaaaaaaaaaac');
    const folder = made(one);
    change(vmFiles.jail(folder));
    keepJail(folder, one);
    return readdirSync(folder).length === 0;
  };
  expect(add((root) => writeFileSync(path.join(root, 'usr/bin/disk'), ''))).toBe(false);
  expect(add((root) => symlinkSync('/dev/.own/x', path.join(root, 'dev/x')))).toBe(false);
});

test('what lies in the VM’s folder is of no use to another one', () => {
  const folder = path.join(process.env['TMPDIR'] ?? '', 'aaaaaaaaaaad');
  const one = plan('aaaaaaaaaaad', [mount(path.join(folder, 'scratch.img'), 'file')]);
  expect(made(one)).toBe(folder);
  keepJail(folder, one);
  expect(readdirSync(folder)).toEqual(['jail']);
});

test('a link in the place of a mount point is found, and not followed', () => {
  const one = plan('aaaaaaaaaaae');
  const folder = made(one);
  rmSync(path.join(vmFiles.jail(folder), 'usr/lib'), { recursive: true });
  symlinkSync('/', path.join(vmFiles.jail(folder), 'usr/lib'));
  keepJail(folder, one);
  expect(readdirSync(folder)).toEqual(['jail']);
});

test('others pass through a jail, whatever the umask', () => {
  const before = process.umask(0o077);
  try {
    const root = vmFiles.jail(made(plan('aaaaaaaaaaaf')));
    for (const place of ['.', 'usr', 'usr/lib', 'dev/.own']) {
      expect(statSync(path.join(root, place)).mode & 0o777).toBe(0o755);
    }
  } finally {
    process.umask(before);
  }
});

test('jails that can not be kept or taken are in nobody’s way', () => {
  const one = plan('aaaaaaaaaaba');
  const folder = made(one);
  rmSync(places().jails, { recursive: true });
  writeFileSync(places().jails, '');
  try {
    keepJail(folder, one);
    expect(readdirSync(folder)).toEqual(['jail']);
    expect(takeJail(fresh(plan('bbbbbbbbbbba')), plan('bbbbbbbbbbba'))).toBe(false);
  } finally {
    rmSync(places().jails);
  }
});

test('one that somebody is removing is not taken', () => {
  const [one, other] = [plan('aaaaaaaaaabb'), plan('bbbbbbbbbbbd')];
  keepJail(made(one), one);
  const name = readdirSync(places().jails).find((entry) => entry.endsWith(one.id)) ?? '';
  rmSync(path.join(places().jails, name, path.dirname(path.join(places().runtime, one.id))), { recursive: true });
  expect(takeJail(fresh(other), other)).toBe(false);
  expect(readdirSync(fresh(other))).toEqual([]);
});

test('no more than thirty-two are kept: one that is like the new one stays', () => {
  for (let at = 0; at < 33; at++) {
    const one = plan(`dddddddddd${at + 10}`, [mount('/usr/share', 'folder'), mount(`/opt/${at < 3}`, 'folder')]);
    keepJail(made(one), one);
  }
  expect(readdirSync(places().jails)).toHaveLength(32);
  const taken = plan('eeeeeeeeeeee', [mount('/usr/share', 'folder'), mount('/opt/false', 'folder')]);
  for (let at = 0; at < 30; at++) {
    const one = { ...taken, id: `ffffffffff${at + 10}` };
    expect(takeJail(fresh(one), { ...one, jail: plan(one.id, taken.jail?.mounts.slice(3)).jail })).toBe(true);
  }
});
