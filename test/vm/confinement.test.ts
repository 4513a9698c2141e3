import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { VmInspection } from '../../src/sandbox/inspect.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { keepsAcrossTests } from '../support/leaks.ts';
import { smallGuest, withGuest } from './guest.ts';

/** A real QEMU, confined as it is by default: as root by every measure, otherwise by those that this host allows. */
let vm: Vm;
let seen: VmInspection;
const root = process.geteuid?.() === 0;

keepsAcrossTests('socket', /polyvisor/);
keepsAcrossTests('descriptor', /socket/);

beforeAll(async () => {
  vm = await Vm.create({ ...smallGuest, name: 'confined' });
  seen = await vm.inspect();
});
afterAll(() => vm.remove());

const of = (file: string): string => readFileSync(`/proc/${seen.pid}/${file}`, 'latin1');
const status = (field: string): string => new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(of('status'))?.[1] ?? '';

it('inspect says how, and the process shows it', () => {
  const { confinement } = seen;
  expect(confinement).toMatchObject({ level: root ? 'strict' : 'best', noNewPrivileges: true });
  expect(status('NoNewPrivs')).toBe('1');
  expect(status('Seccomp')).toBe('2');
  expect(BigInt(`0x${status('CapEff')}`)).toBe(0n);
  if (!root) return;
  expect(confinement?.missing).toEqual([]);
  expect(BigInt(`0x${status('CapBnd')}`)).toBe(0n);
  expect(status('Uid').split('\t').map(Number)).toEqual(Array(4).fill(confinement?.uid));
  for (const name of ['mnt', 'pid', 'ipc', 'uts'])
    expect(readlinkSync(`/proc/${seen.pid}/ns/${name}`)).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
  for (const { file, value } of confinement?.cgroup?.limits ?? [])
    expect(readFileSync(file, 'utf8').trim()).toBe(value);
  expect(of('cgroup')).toContain(`polyvisor-${vm.id}`);
});

it('has a root with what it needs, and nothing of ours', () => {
  if (!root) return;
  const inside = `/proc/${seen.pid}/root`;
  expect(readdirSync(inside)).not.toContain('proc');
  expect(existsSync(`${inside}${seen.folders.state}`)).toBe(false);
  expect(readdirSync(`${inside}${seen.folders.runtime}`)).toContain('qmp.sock');
  expect(statSync(seen.folders.runtime).uid).toBe(seen.confinement?.uid);
  expect(statSync(path.dirname(seen.folders.runtime)).uid).toBe(0);
  expect(statSync(seen.folders.state).mode & 0o777).toBe(0o700);
});

it('is driven as any other: threads by their ids on the host, pause, resume, commands', async () => {
  const { vmm } = await vm.statistics();
  expect(vmm.vcpus).toHaveLength(1);
  expect(existsSync(`/proc/${seen.pid}/task/${vmm.vcpus[0]?.threadId}`)).toBe(true);
  await vm.pause();
  await vm.resume();
  expect((await vm.exec(['echo', 'well'])).stdout).toBe('well\n');
});

it('a guest that prints without end fills no disk, and goes on', async () => {
  const console = path.join(seen.folders.runtime, 'console.log');
  expect(of('limits')).toMatch(new RegExp(`Max file size +${64 * 2 ** 20} `));
  // A bound that a guest without hardware help reaches in time; the one above is the same kind.
  const bound = 256 * 1024;
  const uid = seen.confinement?.uid;
  const asIt = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
  const [program, ...words] = [...asIt, 'prlimit', '--pid', `${seen.pid}`, `--fsize=${bound}:`];
  execFileSync(program, words);
  const shouting = vm.exec('yes shouting >/dev/ttyS0');
  await shouting.pid;
  for (let size = 0; size < bound; size = statSync(console).size) await delay(100);
  await delay(1000);
  expect(statSync(console).size).toBe(bound);
  expect((await vm.exec(['echo', 'still here'])).stdout).toBe('still here\n');
  await shouting.kill();
  await shouting;
  await vm.check();
});

it('best gives way where files must be shared, and leaves nothing behind either', async () => {
  let used: VmInspection['confinement'];
  await withGuest({ name: 'easy', confinement: 'best', cpuLimit: 8 }, async (easy) => {
    used = (await easy.inspect()).confinement;
    expect(used).toMatchObject({ level: 'best', noNewPrivileges: true });
    if (root) expect(used).toMatchObject({ capabilities: ['CAP_DAC_OVERRIDE'], missing: [] });
    expect((await easy.exec(['true'])).exitCode).toBe(0);
  });
  expect((used?.cgroup?.folders ?? []).filter((folder) => existsSync(folder))).toEqual([]);
  if (root) expect(readdirSync('/run/polyvisor/uids')).not.toContain(`${used?.uid}`);
});

it('off is off, when it is asked for', () =>
  withGuest({ name: 'loose', confinement: 'off' }, async (loose) => {
    const { confinement, pid } = await loose.inspect();
    expect(confinement).toMatchObject({ level: 'off', noNewPrivileges: false, namespaces: [] });
    expect(statSync(`/proc/${pid}`).uid).toBe(process.geteuid?.());
    expect(readlinkSync(`/proc/${pid}/ns/pid`)).toBe(readlinkSync('/proc/self/ns/pid'));
  }));
