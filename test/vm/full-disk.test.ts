import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { importImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { ensurePrivateFolder } from '../../src/state/private-folder.ts';
import { places } from '../../src/state/paths.ts';
import { smallGuest, withGuest } from './guest.ts';

/*
 * The host's disk is full: the VMs' folders lie on a small tmpfs, which a writable layer fills that is larger than it.
 */

const isRoot = process.getuid?.() === 0;

beforeAll(async () => {
  if (!isRoot) return;
  const root = mkdtempSync(path.join(tmpdir(), 'full-'));
  mkdirSync(path.join(root, 'bin'));
  copyFileSync('/usr/bin/busybox', path.join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'dd', 'rm', 'sync', 'ls']) symlinkSync('busybox', path.join(root, 'bin', name));
  await importImage(root, { name: 'small' });
  rmSync(root, { recursive: true });
  for (const place of places().privateFolders) await ensurePrivateFolder(place);
  mkdirSync(places().vms, { recursive: true, mode: 0o700 });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=0700', 'tmpfs', places().vms]);
});
afterAll(() => {
  if (!isRoot) return;
  execFileSync('umount', [places().vms]);
  rmSync(places().roots, { recursive: true });
});

it.for([false, true])('tells the guest of it, and nothing else suffers (kept: %s)', async (keep, { skip }) => {
  if (!isRoot) return skip('only root makes a small file system');
  await withGuest({ image: 'small', scratch: { sizeMiB: 256, keep } }, async (vm) => {
    await withGuest({ memoryMiB: 256 }, async (other) => {
      const fill = 'dd if=/dev/zero of=/full bs=1M count=100 conv=fsync; echo ended $?; cat /bin/none; echo still here';
      const { stdout, stderr } = await vm.exec(fill);
      expect(stdout).toMatch(/^ended [1-9]\d*\nstill here\n$/);
      expect(stderr).toMatch(/I\/O error|Input\/output error|Read-only file system/);
      expect(statfsSync(places().vms).bavail).toBe(0);
      // Neither of them stands still or has ended.
      await vm.check();
      expect((await vm.inspect()).status).toBe('running');
      expect((await other.exec('echo well', { check: true })).stdout).toBe('well\n');
      expect(await Vm.list()).toHaveLength(2);
    });
    // The other one was removed on the full disk; there is room again when this one is.
  });
  expect(await Vm.list()).toEqual([]);
  const { bavail, bsize } = statfsSync(places().vms);
  expect(bavail * bsize).toBeGreaterThan(31 * 2 ** 20);
});

it('makes no VM where there is no room for one, and leaves nothing', async ({ skip }) => {
  if (!isRoot) return skip('only root makes a small file system');
  const ballast = path.join(places().vms, '.ballast');
  const { bavail, bsize } = statfsSync(places().vms);
  writeFileSync(ballast, Buffer.alloc(bavail * bsize));
  try {
    await expect(Vm.create({ ...smallGuest, image: 'small', scratch: { sizeMiB: 64 } })).rejects.toMatchObject({
      code: 'IO',
      message: expect.stringMatching(/no space/i),
    });
  } finally {
    rmSync(ballast);
  }
  expect(await Vm.list()).toEqual([]);
});
