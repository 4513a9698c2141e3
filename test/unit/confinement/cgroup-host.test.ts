import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { findCgroups } from '../../../src/confinement/cgroup-host.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

/** A /proc/self that shows these mounts, and our own cgroup. */
function host(mounts: readonly [folder: string, type: string, options: string][], own = '/'): string {
  const lines = mounts.map(
    ([folder, type, options]) => `30 20 0:1 / ${folder} rw,relatime shared:1 - ${type} none rw,${options}`,
  );
  mkdirSync(at.file('proc'));
  at.write('proc/mountinfo', `${lines.join('\n')}\n`);
  at.write('proc/cgroup', `0::${own}\n`);
  return at.file('proc');
}

function unified(folder: string, controllers: string): string {
  const full = at.file(folder);
  mkdirSync(full, { recursive: true });
  for (const file of ['cgroup.controllers', 'cgroup.subtree_control', 'cgroup.procs'])
    writeFileSync(path.join(full, file), `${controllers}\n`);
  return full;
}

test('version 2, as root: at the top', () => {
  const top = unified('v2', 'cpuset cpu io memory pids');
  const parents = { memory: top, pids: top, cpu: top };
  expect(findCgroups(true, host([[top, 'cgroup2', '']], '/system.slice/x'))).toEqual({ version: 2, parents });
});

test('version 1 where version 2 has no controllers', () => {
  const top = unified('v2', '');
  for (const name of ['memory', 'pids']) mkdirSync(at.file(name));
  const mounts = ['memory', 'pids'].map((name) => [at.file(name), 'cgroup', name] as [string, string, string]);
  const parents = { memory: at.file('memory'), pids: at.file('pids') };
  expect(findCgroups(true, host([[top, 'cgroup2', ''], ...mounts]))).toEqual({ version: 1, parents });
});

test('an ordinary user: beside its own cgroup, where the controllers are on for it', () => {
  const top = unified('v2', 'memory pids');
  const slice = unified('v2/user.slice/app.slice', 'memory pids');
  const proc = host([[top, 'cgroup2', '']], '/user.slice/app.slice/shell.scope');
  expect(findCgroups(false, proc)).toEqual({ version: 2, parents: { memory: slice, pids: slice } });
  writeFileSync(path.join(slice, 'cgroup.subtree_control'), 'cpu\n');
  expect(findCgroups(false, proc)).toContain('not offered');
});

test('no cgroups at all', () => {
  expect(findCgroups(true, host([]))).toBe('no cgroup file system is mounted');
});
