import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  copyFileSync,
  readFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { importImage } from '../../src/sandbox/root-images.ts';
import { places } from '../../src/state/paths.ts';
import { codeOf } from '../fakes/failure.ts';
import { smallGuest, withGuest } from './guest.ts';
import { Vm } from '../../src/sandbox/vm.ts';

let folder: string;
let image: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'root-'));
  const root = path.join(folder, 'root');
  for (const name of ['bin', 'etc']) mkdirSync(path.join(root, name), { recursive: true });
  copyFileSync('/usr/bin/busybox', path.join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'ls', 'mount']) symlinkSync('busybox', path.join(root, 'bin', name));
  writeFileSync(path.join(root, 'etc/marker'), 'from the image\n');
  image = path.join(folder, 'root.ext4');
  execFileSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', root, image, '16M'], { stdio: 'pipe' });
  chmodSync(folder, 0o755);
  chmodSync(image, 0o644);
});

afterAll(() => rmSync(folder, { recursive: true }));

it("boots the user's image as root, with what is written kept in memory", async () => {
  const before = readFileSync(image);
  await withGuest({ image }, async (vm) => {
    const script = 'cat /etc/marker; echo changed >/etc/marker; cat /etc/marker; ls /sys/block';
    const { stdout } = await vm.exec(['sh', '-c', script], { check: true });
    expect(stdout).toBe('from the image\nchanged\nvda\n');
  });
  expect(readFileSync(image).equals(before)).toBe(true);
});

it('runs what was imported of a qcow2 disk, which stays as it is', async () => {
  const qcow2 = path.join(folder, 'disk.qcow2');
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', image, qcow2], { stdio: 'pipe' });
  const made = await importImage(qcow2);
  expect(made).toMatchObject({ name: 'disk', manifest: { root: { type: 'ext4' } } });
  await withGuest({ image: 'disk' }, async (vm) => {
    const { stdout } = await vm.exec('cat /etc/marker; echo changed >/etc/marker; cat /etc/marker', { check: true });
    expect(stdout).toBe('from the image\nchanged\n');
  });
  expect(readFileSync(made.file).equals(readFileSync(image))).toBe(true);
  rmSync(places().roots, { recursive: true });
  rmSync(qcow2);
});

it('refuses an image that no guest could mount, before anything is made', async () => {
  const qcow2 = path.join(folder, 'disk.qcow2');
  writeFileSync(qcow2, Buffer.concat([Buffer.from([0x51, 0x46, 0x49, 0xfb]), Buffer.alloc(4096)]));
  expect(await codeOf(Vm.create({ ...smallGuest, image: qcow2 }))).toBe('FILE_INVALID');
  expect(await codeOf(Vm.create({ ...smallGuest, image: path.join(folder, 'none') }))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(Vm.create({ ...smallGuest, image, initrd: image }))).toBe('INVALID_CONFIG');
});
