import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { agentBinary } from '../../src/config/package-files.ts';
import { buildHostGuest, findHostKernel } from '../../src/images/host-guest.ts';
import { defaultImageName } from '../../src/images/image.ts';
import { findImage } from '../../src/images/store.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';
import { codeOf } from '../fakes/failure.ts';
import { smallGuest, withGuest } from './guest.ts';

it('boots a kernel that is installed in a folder, with its modules', async () => {
  // What apt has downloaded for the default guest, installed as a host would have it.
  const known = await findImage(places().images, defaultImageName, agentBinary);
  const hash = known?.manifest.packages[0]?.sha256 ?? 'none';
  const folder = mkdtempSync(path.join(tmpdir(), 'host-'));
  try {
    execFileSync('dpkg-deb', ['-x', path.join(places().images, '.packages', `${hash}.deb`), folder]);
    const [installed = ''] = readdirSync(path.join(folder, 'lib/modules'));
    const cacheFolder = path.join(folder, 'cache');
    const kernel = await findHostKernel(folder, installed);
    const made = await buildHostGuest({ cacheFolder, agentPath: agentBinary, kernel });
    await withGuest({ kernel: made.kernel, initrd: made.initrd }, async (vm) => {
      const { stdout } = await vm.exec(['uname', '-r'], { check: true });
      expect(stdout).toBe(`${installed}\n`);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("boots this host's kernel, or says that it isn't here", async () => {
  const isHere = await findHostKernel().then(
    () => true,
    () => false,
  );
  if (isHere)
    await withGuest({ kernel: 'host' }, async (vm) => {
      expect((await vm.exec(['uname', '-r'], { check: true })).stdout).toBe(`${release()}\n`);
    });
  else expect(await codeOf(Vm.create({ ...smallGuest, kernel: 'host' }))).toBe('HOST_MISSING');
  expect(await codeOf(Vm.create({ ...smallGuest, kernel: 'host', initrd: agentBinary }))).toBe('INVALID_CONFIG');
});
