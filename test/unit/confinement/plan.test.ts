import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { type ConfinementSubject, missingText, planConfinement } from '../../../src/confinement/confinement-plan.ts';
import type { HostPowers } from '../../../src/confinement/host-powers.ts';
import type { Seen } from '../../../src/confinement/survey.ts';
import { freeDescriptors, throughOf } from '../../../src/confinement/through.ts';
import { failure } from '../../fakes/failure.ts';

const tools = Object.fromEntries(
  ['unshare', 'setpriv', 'mount', 'umount', 'nsenter', 'mknod', 'prlimit'].map((name) => [name, `/bin/${name}`]),
);
const asRoot: HostPowers = {
  ownUid: true,
  namespaces: 'root',
  noNewPrivileges: true,
  capabilities: 'droppable',
  cgroups: { version: 2, parents: { memory: '/cg', pids: '/cg', cpu: '/cg' } },
  tools,
};
const asUser: HostPowers = { ...asRoot, ownUid: 'only root can', namespaces: 'user', cgroups: 'not delegated' };
const asNobody: HostPowers = { ...asUser, namespaces: { missing: 'not allowed' }, capabilities: 'none' };
const subject: ConfinementSubject = {
  id: 'abcdef012345',
  runtimeFolder: '/run/pv/abcdef012345',
  binary: '/usr/bin/vmm',
  memoryMiB: 1024,
  vcpus: 2,
  emulated: false,
  hugePages: false,
};
const file = (path: string, more: Partial<Seen> = {}): Seen => ({
  path,
  access: 'read',
  kind: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  ...more,
});
const kvm = (mode: number, gid: number): Seen =>
  file('/dev/kvm', { access: 'write', kind: 'device', mode, gid, device: { type: 'c', major: 10, minor: 232 } });

test('off is nothing but the bound on files', () => {
  const plan = planConfinement('off', subject, asRoot, [], 7000);
  expect(plan).toEqual({
    schema: 1,
    id: subject.id,
    level: 'off',
    maxFileBytes: 64 * 2 ** 20,
    groups: [],
    noNewPrivileges: false,
    capabilities: 'all',
    namespaces: [],
    missing: [],
  });
  expect(throughOf(plan, { jail: undefined, tools })).toEqual({ keeper: [], preparation: [], program: [] });
});

test('as root every measure is taken', () => {
  const plan = planConfinement('strict', subject, asRoot, [file('/usr/bin/vmm')], 7000);
  expect(plan).toMatchObject({ uid: 7000, groups: [], noNewPrivileges: true, capabilities: [], missing: [] });
  expect(plan.namespaces).toEqual(['mount', 'pid', 'ipc', 'uts']);
  expect(plan.jail?.mounts).toContainEqual({ path: '/usr/bin/vmm', kind: 'file', readOnly: true, what: 'host' });
  expect(plan.jail?.mounts).toContainEqual({
    path: subject.runtimeFolder,
    kind: 'folder',
    readOnly: false,
    what: 'host',
  });
  expect(plan.cgroup?.limits).toEqual([
    { file: '/cg/polyvisor-abcdef012345/memory.max', value: String((1024 + 512 + 16) * 2 ** 20) },
    { file: '/cg/polyvisor-abcdef012345/pids.max', value: '194' },
  ]);
});

test('a limit of processor time, in both versions of cgroups', () => {
  const limited = { ...subject, cpuLimit: 1.5 };
  const second = planConfinement('strict', limited, asRoot, [], 7000).cgroup?.limits.at(-1);
  expect(second).toEqual({ file: '/cg/polyvisor-abcdef012345/cpu.max', value: '150000 100000' });
  const cgroups = { version: 1, parents: { memory: '/m', pids: '/p', cpu: '/c' } } as const;
  const first = planConfinement('strict', limited, { ...asRoot, cgroups }, [], 7000).cgroup;
  expect(first?.limits.at(-1)).toEqual({ file: '/c/polyvisor-abcdef012345/cpu.cfs_quota_us', value: '150000' });
  expect(first?.folders).toEqual(['/m', '/p', '/c'].map((folder) => `${folder}/polyvisor-abcdef012345`));
});

test('an ordinary user has namespaces by way of a user namespace, and keeps the uid', () => {
  const plan = planConfinement('best', subject, asUser, [file('/home/u/disk', { mode: 0o600, access: 'write' })], 0);
  expect(plan).toMatchObject({ uid: undefined, noNewPrivileges: true, capabilities: [], cgroup: undefined });
  expect(plan.namespaces).toEqual(['user', 'mount', 'pid', 'ipc', 'uts']);
  expect(plan.missing.map(({ measure }) => measure)).toEqual(['uid', 'cgroup']);
  expect(missingText(plan.missing)).toContain('a uid of its own (only root can)');
  const { keeper } = throughOf(plan, { jail: undefined, tools });
  expect(keeper.slice(0, 4)).toEqual(['/bin/unshare', '--user', '--map-root-user', '--pid']);
  expect(keeper.slice(4)).toEqual(['--mount', '--ipc', '--uts', '--propagation', 'slave', '--']);
});

test('without namespaces there are no-new-privs still', () => {
  const plan = planConfinement('best', subject, asNobody, [], 0);
  expect(plan.jail).toBeUndefined();
  expect(throughOf(plan, { jail: undefined, tools })).toEqual({
    keeper: [],
    preparation: [],
    program: ['/bin/setpriv', '--no-new-privs', '--'],
  });
});

test('what its uid may not use: a copy, a node of its own, or a refusal', async () => {
  const seen = [file('/boot/kernel', { mode: 0o600 }), kvm(0o600, 0)];
  const { jail, groups } = planConfinement('strict', subject, asRoot, seen, 7000);
  expect(jail?.copies).toEqual(['/boot/kernel']);
  expect(jail?.nodes).toEqual([{ path: '/dev/kvm', type: 'c', major: 10, minor: 232 }]);
  expect(groups).toEqual([]);
  const disk = file('/d.img', { access: 'write' });
  const refused = Promise.resolve().then(() => planConfinement('strict', subject, asRoot, [disk], 7000));
  expect(await failure(refused)).toMatchObject({ code: 'PERMISSION', facts: { path: '/d.img' } });
  const best = planConfinement('best', subject, asRoot, [disk], 7000);
  expect(best.capabilities).toEqual(['CAP_DAC_OVERRIDE']);
  expect(best.jail?.mounts).toContainEqual({ path: '/d.img', kind: 'file', readOnly: false, what: 'host' });
  expect(throughOf(best, { jail: undefined, tools }).program).toContain('--bounding-set=-all,+dac_override');
});

test('a device that a group may use is used by that group, never by the one of root', () => {
  const { jail, groups } = planConfinement('strict', subject, asRoot, [kvm(0o660, 108)], 7000);
  expect(groups).toEqual([108]);
  expect(jail?.nodes).toEqual([]);
  expect(planConfinement('strict', subject, asRoot, [kvm(0o660, 0)], 7000).jail?.nodes).toHaveLength(1);
});

test('what lies in a folder that is shown is not shown again, unless it is to be written', () => {
  const folder = file('/usr/lib', { kind: 'folder', mode: 0o755 });
  const inside = [file('/usr/lib/vmm/bin'), file('/usr/lib/vmm/state', { access: 'write', mode: 0o666 })];
  const { jail } = planConfinement('strict', subject, asRoot, [folder, ...inside], 7000);
  const shown = jail?.mounts.map(({ path }) => path);
  expect(shown).not.toContain('/usr/lib/vmm/bin');
  expect(shown?.indexOf('/usr/lib/vmm/state')).toBeGreaterThan(shown?.indexOf('/usr/lib') ?? Infinity);
});

test('files may grow to the largest that the VMM is to write, or without end where that is not ours to say', () => {
  const bound = (largestFileBytes: number | 'unlimited'): number | undefined =>
    planConfinement('strict', { ...subject, largestFileBytes }, asRoot, [], 7000).maxFileBytes;
  expect([bound(0), bound(2 ** 40), bound('unlimited')]).toEqual([64 * 2 ** 20, 2 ** 40, undefined]);
});

test('who makes terminals gets a node for it though the host has an open one, and processes of its own to look at', () => {
  const device = { type: 'c', major: 5, minor: 2 } as const;
  const maker = file('/dev/ptmx', { kind: 'device', device, access: 'write', mode: 0o666 });
  const processes = file('/proc', { kind: 'folder', mode: 0o555 });
  const { jail } = planConfinement('strict', subject, asRoot, [maker, processes], 7000);
  expect(jail?.nodes).toEqual([{ path: '/dev/ptmx', ...device }]);
  expect(jail?.mounts).toContainEqual({ path: '/proc', kind: 'folder', readOnly: true, what: 'processes' });
  const user = planConfinement('best', subject, asUser, [maker, processes], 7000).jail?.mounts.map(({ path }) => path);
  expect([user?.includes('/dev/ptmx'), user?.includes('/proc')]).toEqual([true, false]);
});

test('an SELinux label is given by the last of the tools, with or without other measures', () => {
  const label = 'system_u:system_r:container_kvm_t:s0:c1,c2';
  const labelled = { ...subject, selinuxLabel: label };
  const strict = planConfinement('strict', labelled, asRoot, [file('/usr/bin/vmm')], 7000);
  const { program } = throughOf(strict, { jail: undefined, tools });
  expect(program.slice(program.indexOf('/bin/setpriv'))).toEqual(
    expect.arrayContaining([`--selinux-label=${label}`, '--no-new-privs', '--reuid=7000']),
  );
  expect(throughOf(planConfinement('off', labelled, asRoot, [], 7000), { jail: undefined, tools }).program).toEqual([
    '/bin/setpriv',
    `--selinux-label=${label}`,
    '--',
  ]);
});

test('files that a VMM inherits are opened before it is confined, under numbers that nothing else has', () => {
  const plan = planConfinement('strict', subject, asRoot, [file('/usr/bin/vmm')], 7000);
  const descriptors = freeDescriptors.map((number) => ({ number, path: `/dev/tap${number} "'` }));
  const { program } = throughOf(plan, { jail: undefined, tools, networkNamespace: '/run/netns/a', descriptors });
  expect(program.slice(0, 4)).toEqual(['/bin/nsenter', '--net=/run/netns/a', '--', '/bin/sh']);
  expect(program).toContain(`/dev/tap3 "'`);
  expect(program.indexOf('/bin/setpriv')).toBeGreaterThan(program.indexOf('/dev/tap9 "\''));
});

test('they are open where they are said to be', () => {
  const plan = planConfinement('off', subject, asRoot, [], 7000);
  const descriptors = freeDescriptors.map((number) => ({ number, path: '/dev/null' }));
  const [program = '', ...words] = throughOf(plan, { jail: undefined, tools, descriptors }).program;
  const open = execFileSync(program, [...words, 'ls', '-l', '/proc/self/fd'], { encoding: 'utf8' });
  for (const number of freeDescriptors) expect(open).toContain(`${number} -> /dev/null`);
});
