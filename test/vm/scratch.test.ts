import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type BroughtBack, bringBackThese } from '../../src/sandbox/bring-back.ts';
import { bringIn } from '../../src/sandbox/bring-in.ts';
import type { CopiedFolder } from '../../src/sandbox/copied-folders.ts';
import { folderDisk, mountFolderImage } from '../../src/sandbox/folder-image.ts';
import type { HeldVm } from '../../src/sandbox/held-vm.ts';
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

it('copies a folder into a guest and back, as for VMMs that share none: unchanged files are told by every file system of a guest', async () => {
  const work = mkdtempSync(path.join(tmpdir(), 'copied-'));
  const folder = path.join(work, 'shared');
  mkdirSync(path.join(folder, 'sub'), { recursive: true });
  for (const name of ['one', 'two', 'gone', 'sub/three']) writeFileSync(path.join(folder, name), name);
  const copied: CopiedFolder = { id: 'copied', path: folder, mountAt: '/srv', readOnly: false, as: 'files' };
  for (const scratch of [undefined, { sizeMiB: 64 }]) {
    writeFileSync(path.join(folder, 'gone'), 'gone');
    await withGuest({ image: 'small', scratch }, async (vm) => {
      const held = { context: { stateFolder: work }, name: 'guest' } as HeldVm;
      const back = (): Promise<BroughtBack> => bringBackThese(held, vm.agent, [copied], {});
      await bringIn(work, vm.agent, [copied], {});
      expect(await back()).toEqual({ written: 0, removed: 0, conflicts: [], skipped: 0 });
      await vm.exec('cd /srv && echo new >one && rm gone && busybox mkfifo pipe', { check: true });
      writeFileSync(path.join(folder, 'two'), 'of the host');
      expect(await back()).toEqual({ written: 1, removed: 1, conflicts: [], skipped: 1 });
      expect(readFileSync(path.join(folder, 'one'), 'utf8')).toBe('new\n');
      expect(readFileSync(path.join(folder, 'two'), 'utf8')).toBe('of the host');
      expect(readdirSync(folder)).toEqual(['one', 'sub', 'two']);
    });
  }
  rmSync(work, { recursive: true });
});
