import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { agentBinary } from '../../src/config/package-files.ts';
import { buildHostGuest, type InstalledKernel } from '../../src/images/host-guest.ts';
import type { GuestImage } from '../../src/images/image.ts';

/** A kernel that the lab is booted with, in place of the default guest's. */
export interface LabKernel {
  guest: GuestImage;
  kernel: InstalledKernel;
}

/** The cloud kernel of another suite of Debian, which is brought where this checkout has not got it yet. */
export async function kernelOf(suite: string): Promise<LabKernel> {
  const folder = path.resolve(`node_modules/.cache/kernel-${suite}`);
  if (!existsSync(path.join(folder, 'lib/modules')))
    execFileSync('/bin/sh', [path.resolve('scripts', 'from-suite'), suite, folder, 'linux-image-cloud-amd64'], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  const [release = ''] = readdirSync(path.join(folder, 'lib/modules'));
  const kernel = {
    release,
    image: path.join(folder, 'boot', `vmlinuz-${release}`),
    modules: path.join(folder, 'lib/modules', release),
  };
  const guest = await buildHostGuest({ cacheFolder: path.join(folder, 'guest'), agentPath: agentBinary, kernel });
  return { guest, kernel };
}
