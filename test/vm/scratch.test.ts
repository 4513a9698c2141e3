import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { folderDisk, mountFolderImage } from '../../src/sandbox/folder-image.ts';
import { importImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places, vmFiles } from '../../src/state/paths.ts';
import { codeOf } from '../fakes/failure.ts';
import { smallGuest, withGuest } from './guest.ts';

beforeAll(async () => {
  const root = mkdtempSync(path.join(tmpdir(), 'scratch-'));
  mkdirSync(path.join(root, 'bin'));
  copyFileSync('/usr/bin/busybox', path.join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'dd', 'df', 'rm', 'stat']) symlinkSync('busybox', path.join(root, 'bin', name));
  await importImage(root, { name: 'small' });
  rmSync(root, { recursive: true });
});
afterAll(() => rmSync(places().roots, { recursive: true }));

const fill = 'dd if=/dev/zero of=/full bs=1M 2>&1; stat -c %s /full; rm /full; echo ok >/after && cat /after';

it('limits what is written in memory', async () => {
  await withGuest({ image: 'small', scratch: { sizeMiB: 32, on: 'memory' } }, async (vm) => {
    const { stdout } = await vm.exec(fill, { check: true });
    expect(stdout).toMatch(/No space left on device/);
    expect(Number(/^(\d{7,})$/m.exec(stdout)?.[1])).toBeLessThanOrEqual(32 * 2 ** 20);
    expect(stdout).toMatch(/ok\n$/);
  });
});

it('limits what is written to disk, keeps it over a start, and takes it away with the VM', async () => {
  const vm = await Vm.create({
    ...smallGuest,
    name: 'kept',
    image: 'small',
    detached: true,
    scratch: { sizeMiB: 64, keep: true },
  });
  const disk = vmFiles.scratch(path.join(places().vms, 'kept'));
  try {
    const { stdout } = await vm.exec(fill, { check: true });
    expect(stdout).toMatch(/No space left on device/);
    expect(Number(/^(\d{7,})$/m.exec(stdout)?.[1])).toBeGreaterThan(48 * 2 ** 20);
    expect(stdout).toMatch(/ok\n$/);
    expect(statSync(disk).size).toBe(64 * 2 ** 20);
    expect(await codeOf(vm.snapshot('of-scratch'))).toBe('UNSUPPORTED');
    expect(await codeOf(vm.fork())).toBe('UNSUPPORTED');
    await vm.stop();
    await vm.start();
    expect((await vm.exec('cat /after; echo again >>/after', { check: true })).stdout).toBe('ok\n');
  } finally {
    await vm.remove();
  }
  expect(() => statSync(disk)).toThrow(/ENOENT/);
});

it('keeps the VM of `run --keep`, and no room for what is not kept', () => {
  const cli = (...words: string[]): string =>
    execFileSync(process.execPath, ['bin/polyvisor.js', ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const small = ['-q', '--accel', 'tcg', '-m', '256M', '--image', 'small', '--name', 'left'];
  cli('run', ...small, '--keep', '--scratch', '32M', '--', '/bin/sh', '-c', 'echo mine >/file');
  expect(cli('ls', '-a')).toMatch(/^left .*stopped/m);
  cli('start', 'left');
  expect(cli('exec', 'left', '--', 'cat', '/file')).toBe('mine\n');
  cli('rm', '-f', 'left');
});

it('mounts an image of a folder, as it is for VMMs that share none', async () => {
  const work = mkdtempSync(path.join(tmpdir(), 'folder-'));
  const folder = path.join(work, 'shared');
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'file'), 'of the host\n');
  symlinkSync('/etc/hostname', path.join(folder, 'link'));
  const one = await folderDisk(work, { id: 'one', path: folder }, {});
  const other = await folderDisk(work, { id: 'other', path: work }, {});
  await withGuest({ devices: [other, one] }, async (vm) => {
    await mountFolderImage(vm.agent, 'one', '/srv/in side', {});
    const { stdout } = await vm.exec('cd "/srv/in side"; cat file link; echo x >file || echo closed', { check: true });
    expect(stdout).toBe('of the host\npolyvisor\nclosed\n');
    expect(await codeOf(mountFolderImage(vm.agent, 'none', '/srv/none', {}))).toBe('AGENT_FAILED');
  });
  rmSync(work, { recursive: true });
});
