import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { agentBinary } from '../../src/config/package-files.ts';
import { buildHostGuest, findHostKernel } from '../../src/images/host-guest.ts';
import { withGuest } from '../vm/guest.ts';

// Debian's kernel for clouds, which the default guest has, lacks 9p: the other one is 70 MB to be fetched and 400 MB on the disk.
it('a folder by 9p is mounted, read and written, and nobody in the guest is root of it', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'nine-p-'));
  try {
    chmodSync(folder, 0o755);
    const asked = execFileSync('apt-cache', ['depends', 'linux-image-amd64'], { encoding: 'utf8' });
    const name = /Depends: (linux-image-\S+)/.exec(asked)?.[1] ?? '';
    execFileSync('apt-get', ['download', '-qq', name], { cwd: folder, stdio: 'pipe' });
    const [archive = ''] = readdirSync(folder).filter((file) => file.endsWith('.deb'));
    const host = path.join(folder, 'host');
    execFileSync('dpkg-deb', ['-x', path.join(folder, archive), host]);
    const [installed = ''] = readdirSync(path.join(host, 'lib/modules'));
    const kernel = await findHostKernel(host, installed);
    const made = await buildHostGuest({ cacheFolder: path.join(folder, 'cache'), agentPath: agentBinary, kernel });
    const share = path.join(folder, 'share');
    mkdirSync(share);
    // The VMM runs under a uid of its own.
    chmodSync(share, 0o777);
    writeFileSync(path.join(share, 'hello'), 'from the host\n');
    const devices = [{ kind: 'fs', id: 'nine', path: share, driver: 'virtio-9p', mountAt: '/mnt/nine' } as const];
    await withGuest({ kernel: made.kernel, initrd: made.initrd, sharedFs: 'virtio-9p', devices }, async (vm) => {
      const script =
        'exec 2>&1; ' +
        'cat /mnt/nine/hello; echo back >/mnt/nine/answer; chown 7:7 /mnt/nine/answer; stat -c %u /mnt/nine/answer';
      expect((await vm.exec(['sh', '-c', script], { check: false })).stdout).toBe('from the host\n7\n');
    });
    expect(readFileSync(path.join(share, 'answer'), 'utf8')).toBe('back\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
