import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { HypervisorType } from '../../src/config/hypervisor-type.ts';
import { importImage, removeRootImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';

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
    const name = `lab-${path.basename(folder).toLowerCase()}`;
    try {
      const root = makeRoot(folder);
      const disk = path.join(folder, 'root.img');
      execFileSync('mke2fs', ['-q', '-t', 'ext4', '-d', root, disk, '16M']);
      const stored = await importImage(root, { name });
      expect(stored.manifest.root.type).toBe('erofs');
      for (const image of [disk, disk, name]) {
        // ACRN's device model needs root, and `strict` refuses that.
        const options = { hypervisor, image, vcpus: 1, memoryMiB: 256, confinement: 'best', ...change() } as const;
        await using vm = await Vm.create(options);
        const script = 'cat /marker; ls /written 2>/dev/null; echo kept > /written; cat /written';
        const { stdout } = await vm.exec(['/bin/sh', '-c', script], { check: true });
        expect(stdout).toBe('in the image\nkept\n');
      }
    } finally {
      await removeRootImage(name);
      rmSync(folder, { recursive: true });
    }
  });
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
