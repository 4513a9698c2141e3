import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { HypervisorType } from '../../src/config/hypervisor-type.ts';
import { loadDriver } from '../../src/hypervisors/registry.ts';
import { importImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { places } from '../../src/state/paths.ts';

/**
 * The default guest in a root image of the user's own, an ext4 disk and an EROFS of the store: commands run there, and what they write is the
 * VM's alone.
 */
export function itBootsARootImage(
  hypervisor: HypervisorType,
  how: string,
  change: () => Partial<VmOptions> = () => ({}),
): void {
  it(`${hypervisor}: boots a root image${how}`, async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-root-'));
    try {
      const root = makeRoot(folder);
      const disk = path.join(folder, 'root.img');
      execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', root, disk, '16M']);
      const stored = await importImage(root, { name: 'lab' });
      expect(stored.manifest.root.type).toBe('erofs');
      // ACRN's device model needs root, and `strict` refuses that.
      const options = { hypervisor, vcpus: 1, memoryMiB: 256, confinement: 'best', ...change() } as const;
      for (const image of [disk, disk, stored.name]) {
        await using vm = await Vm.create({ ...options, image });
        const script = 'cat /marker; ls /written 2>/dev/null; echo kept > /written; cat /written';
        const { stdout } = await vm.exec(['/bin/sh', '-c', script], { check: true });
        expect(stdout).toBe('in the image\nkept\n');
      }
      const { capabilities } = await loadDriver(hypervisor);
      if (capabilities.devices.fs.start !== true) await copiesFolders(folder, options);
    } finally {
      for (const made of [folder, places().roots]) rmSync(made, { recursive: true, force: true });
    }
  });
}

/** Folders of the lab in a guest whose VMM shares none: one by an image, the other's files copied in, and back when the VM is removed. */
async function copiesFolders(folder: string, options: VmOptions): Promise<void> {
  const shared = path.join(folder, 'shared');
  mkdirSync(shared);
  for (const name of ['old', 'gone']) writeFileSync(path.join(shared, name), name);
  const devices = [
    { kind: 'fs', path: shared, mountAt: '/shared' },
    { kind: 'fs', path: shared, mountAt: '/closed', readOnly: true },
  ] as const;
  {
    await using vm = await Vm.create({ ...options, devices });
    const script = 'cat /closed/old; echo x 2>/dev/null >/closed/new || rm /shared/gone; echo new >/shared/new';
    expect((await vm.exec(script, { check: true })).stdout).toBe('old');
  }
  expect(readdirSync(shared)).toEqual(['new', 'old']);
}

/** A folder with busybox in it. */
function makeRoot(folder: string): string {
  const root = path.join(folder, 'root');
  for (const name of ['bin', 'dev', 'etc', 'proc', 'run', 'sys', 'tmp'])
    mkdirSync(path.join(root, name), { recursive: true });
  copyFileSync('/bin/busybox', path.join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'ls', 'grep']) symlinkSync('busybox', path.join(root, 'bin', name));
  writeFileSync(path.join(root, 'marker'), 'in the image\n');
  return root;
}
