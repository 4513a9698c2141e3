import {
  existsSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enterCgroup } from '../../../src/confinement/cgroup.ts';
import { defaultLevel } from '../../../src/confinement/confinement.ts';
import { allowFileSize, allowMemory, conceal, reveal } from '../../../src/confinement/reveal.ts';
import type { VmContext } from '../../../src/hypervisors/hypervisor.ts';
import { VmmProcess } from '../../../src/hypervisors/vmm-process.ts';
import { vmFiles } from '../../../src/state/paths.ts';
import { uidRange } from '../../../src/state/uid-range.ts';
import { codeOf } from '../../fakes/failure.ts';
import { keepsAcrossTests } from '../../support/leaks.ts';
import { type Probe, startProbe } from './probe.ts';

/*
 * What a confined VMM can see, open and signal, from inside. As root every measure is taken; an ordinary user's VMM has those
 * that its host allows, and what is said to be missing is missing.
 */

let probe: Probe;
let folder: string;
const status = (field: string): string =>
  new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(readFileSync(`/proc/${probe.pid}/status`, 'latin1'))?.[1]?.trim() ??
  '';
const root = process.geteuid?.() === 0;
const jailed = (): boolean => probe.confined.plan.jail !== undefined;

keepsAcrossTests('file', /polyvisor-confined-/);

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-host-'));
  for (const [name, mode] of [
    ['open', 0o644],
    ['shared', 0o666],
    ['secret', 0o600],
  ] as const)
    writeFileSync(path.join(folder, name), name, { mode });
  // The umask does not count here.
  chmodSync(path.join(folder, 'shared'), 0o666);
  mkdirSync(path.join(folder, 'shelf'), { mode: 0o755 });
  writeFileSync(path.join(folder, 'shelf', 'book'), 'a book', { mode: 0o644 });
  const paths = [
    { path: path.join(folder, 'open'), access: 'read' },
    { path: path.join(folder, 'secret'), access: 'read' },
  ] as const;
  probe = await startProbe({ level: defaultLevel(), paths });
});

afterAll(async () => {
  await probe.end();
  rmSync(folder, { recursive: true });
});

test('as root nothing is missing', () => {
  if (root) expect(probe.confined.plan.missing).toEqual([]);
  else expect(probe.confined.plan.missing.map(({ measure }) => measure)).toContain('uid');
});

test('who it is: no privilege, and a uid of its own as root', () => {
  expect(status('NoNewPrivs')).toBe('1');
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(BigInt(`0x${status(set)}`)).toBe(0n);
  if (!root) return;
  expect(BigInt(`0x${status('CapBnd')}`)).toBe(0n);
  const { first, count } = uidRange();
  const ids = status('Uid').split(/\s+/).map(Number);
  expect(new Set(ids).size).toBe(1);
  expect(ids[0]).toBe(probe.confined.plan.uid);
  expect(ids[0]).toBeGreaterThanOrEqual(first);
  expect(ids[0]).toBeLessThan(first + count);
  expect(status('Gid').split(/\s+/).map(Number)).toEqual(ids);
  expect(status('Groups')).toBe('');
});

test('its namespaces are its own, and it is process 1 in its pid namespace', () => {
  const link = (pid: number | 'self', name: string): string => readlinkSync(`/proc/${pid}/ns/${name}`);
  for (const name of ['mnt', 'pid', 'ipc', 'uts']) expect(link(probe.pid, name) !== link('self', name)).toBe(jailed());
  if (jailed()) expect(status('NSpid').split(/\s+/).at(-1)).toBe('1');
});

test('it sees what it needs of the file system, and nothing else', async () => {
  if (!jailed()) return;
  const top = (await probe.ask('ls -A /')).split('\n');
  const needed = ['bin', 'dev', 'etc', 'lib', 'lib64', 'tmp', 'usr'];
  expect(top.filter((name) => !needed.includes(name))).toEqual([]);
  expect((await probe.ask('ls -A /etc')).split('\n').filter((name) => !name.startsWith('ld.so'))).toEqual([]);
  expect((await probe.ask('ls -A /dev')).split('\n').toSorted()).toEqual(
    [...(root ? ['.own'] : []), 'null', 'urandom', 'zero'].toSorted(),
  );
  for (const hidden of ['/proc', '/sys', '/root', '/home', '/run', '/etc/passwd', probe.state])
    expect(await probe.ask(`ls -d ${hidden}`), hidden).toContain('No such file');
  expect((await probe.ask(`ls -A ${folder}`)).split('\n')).toEqual(['open', 'secret']);
});

test('it reads what it was given, also what only we may read, and writes nowhere but in its own folder', async () => {
  if (!jailed()) return;
  expect(await probe.ask(`cat ${folder}/open`)).toBe('open');
  expect(await probe.ask(`cat ${folder}/secret`)).toBe('secret');
  for (const file of [`${folder}/open`, `${folder}/secret`, '/usr/lib/x', '/x', '/etc/ld.so.cache', `${folder}/x`])
    expect(await probe.ask(`echo no >>${file}`), file).toMatch(/Read-only|Permission denied|denied/);
  expect(await probe.ask(`echo yes >${probe.runtime}/own && cat ${probe.runtime}/own`)).toBe('yes');
  expect(readFileSync(path.join(folder, 'secret'), 'utf8')).toBe('secret');
});

test('it can neither see nor signal a process of the host', async () => {
  if (!jailed()) return;
  expect(await probe.ask(`kill -0 ${process.pid} && echo seen`)).toContain('No such process');
  expect(await probe.ask('kill -KILL -1 && echo seen || echo alone')).toContain('alone');
});

test('it can not undo any of it', async () => {
  if (!jailed()) return;
  expect(await probe.ask('mount -t tmpfs none /dev && echo done')).not.toContain('done');
  expect(await probe.ask('hostname mine && echo done')).not.toContain('done');
  expect(await probe.ask('chroot / /bin/true && echo done')).not.toContain('done');
  expect(await probe.ask(`mknod ${probe.runtime}/disk b 8 0 && echo done`)).not.toContain('done');
  expect(await probe.ask('unshare --user --mount /bin/true && echo done')).not.toContain('done');
});

test('its cgroup has limits, which grow with its memory', async () => {
  const { cgroup } = probe.confined.plan;
  if (cgroup === undefined) return;
  await enterCgroup(cgroup, probe.pid);
  const own = readFileSync(`/proc/${probe.pid}/cgroup`, 'utf8');
  expect(own).toContain(`polyvisor-${probe.confined.plan.id}`);
  const limit = (): number =>
    Number(readFileSync(cgroup.limits.find(({ file }) => file.includes('memory'))?.file ?? '', 'utf8'));
  expect(limit()).toBe((64 + 512 + 1) * 2 ** 20);
  allowMemory({ stateFolder: probe.state, pid: probe.pid }, 1024, false);
  expect(limit()).toBe((1024 + 512 + 16) * 2 ** 20);
  expect(readFileSync(cgroup.limits.find(({ file }) => file.endsWith('pids.max'))?.file ?? '', 'utf8').trim()).toBe(
    '193',
  );
});

test('what is revealed can be used under its path, and is gone again when it is concealed', async () => {
  const vmm = { stateFolder: probe.state, pid: probe.pid };
  const [shared, book] = [path.join(folder, 'shared'), path.join(folder, 'shelf')];
  await reveal(vmm, shared, { readOnly: false });
  await reveal(vmm, book, { readOnly: true });
  expect(await probe.ask(`echo more >>${shared} && cat ${shared}`)).toBe('sharedmore');
  expect(statSync(shared).size).toBe('sharedmore\n'.length);
  expect(await probe.ask(`cat ${book}/book`)).toBe('a book');
  if (!jailed()) return;
  expect(await probe.ask(`echo no >${book}/new`)).toMatch(/Read-only|denied/);
  await conceal(vmm, shared);
  await conceal(vmm, book);
  expect(await probe.ask(`cat ${shared}`)).toMatch(/No such file/);
  expect(await probe.ask(`ls ${book}`)).toMatch(/No such file/);
  // Nor are the places that they were mounted at.
  expect(existsSync(path.join(probe.state, 'jail', shared))).toBe(false);
  expect(existsSync(path.join(probe.state, 'jail', book))).toBe(false);
  // Nothing of it is in our own namespace.
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(probe.state);
});

test('of what could not be revealed no place is left', async () => {
  if (!jailed()) return;
  const book = path.join(folder, 'shelf');
  const vmm = { stateFolder: probe.state, pid: probe.pid };
  await expect(reveal(vmm, book, { readOnly: true, signal: AbortSignal.abort() })).rejects.toThrow(/sees/);
  expect(existsSync(path.join(probe.state, 'jail', book))).toBe(false);
});

test('a folder that was lent is removed, also when it can not be concealed', async () => {
  // An ordinary user's VMM can't be made one that is another's.
  if (!root || !jailed()) return;
  const vmm = new VmmProcess({ stateFolder: probe.state } as VmContext);
  vmm.adopt(probe.launched.identity);
  const lent = path.join(folder, 'lent');
  await expect(vmm.lendFolder(lent, { signal: AbortSignal.abort() })).rejects.toThrow(/sees/);
  expect(existsSync(lent)).toBe(false);
  await vmm.lendFolder(lent);
  expect(await probe.ask(`echo written >${lent}/file && cat ${lent}/file`)).toBe('written');
  const confinement = vmFiles.confinement(probe.state);
  const plan = readFileSync(confinement, 'utf8');
  // As one that was started by another user.
  const others = { ...JSON.parse(plan), namespaces: ['user', 'mount'] };
  writeFileSync(confinement, JSON.stringify(others));
  try {
    await expect(vmm.takeBackFolder(lent)).rejects.toThrow(/sees/);
    expect(existsSync(lent)).toBe(false);
  } finally {
    writeFileSync(confinement, plan);
  }
  await conceal({ stateFolder: probe.state, pid: probe.pid }, lent);
});

test('what its uid may not use is refused, with what to do', async () => {
  if (!root) return;
  const vmm = { stateFolder: probe.state, pid: probe.pid };
  const hidden = path.join(folder, 'secret');
  const error = await reveal(vmm, hidden, { readOnly: false }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'PERMISSION', facts: { path: hidden } });
  expect((error as { advice: string }).advice).toContain('--confinement best');
  expect(await codeOf(reveal(vmm, path.join(folder, 'nothing'), { readOnly: true }))).toBe('FILE_NOT_FOUND');
});

test('a device that its uid may not use gets a node of its own', async () => {
  if (!root) return;
  // The console of the kernel: nobody but root may write it, and writing nothing disturbs nobody.
  await reveal({ stateFolder: probe.state, pid: probe.pid }, '/dev/kmsg', { readOnly: false });
  expect(statSync('/dev/kmsg').mode & 0o002).toBe(0);
  expect(await probe.ask(': >>/dev/kmsg && echo opened')).toBe('opened');
});

test('no file of its grows without end, and it lives on; the limit can be raised', async () => {
  const limit = (): string =>
    /^Max file size\s+(\d+)/m.exec(readFileSync(`/proc/${probe.pid}/limits`, 'latin1'))?.[1] ?? '';
  expect(limit()).toBe(String(64 * 2 ** 20));
  const said = await probe.ask(`dd if=/dev/zero of=${probe.runtime}/big bs=1M seek=63 count=2`);
  expect(said).toContain('File too large');
  expect(statSync(path.join(probe.runtime, 'big')).size).toBe(64 * 2 ** 20);
  await allowFileSize({ stateFolder: probe.state, pid: probe.pid }, 2 ** 30);
  expect(limit()).toBe(String(2 ** 30));
});
