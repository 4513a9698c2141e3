import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type KernelModule, resolveModules } from '../../src/images/modules.ts';
import { obtainPackage, resolvePackages, unpackPackage } from '../../src/images/packages.ts';
import { places } from '../../src/state/paths.ts';

/** What a machine needs that is itself a host of virtual machines; the default guest has none of it. */
const hostModules = [
  'irqbypass',
  'kvm',
  'kvm_amd',
  'tun',
  'tap',
  'vhost_net',
  'vhost_vsock',
  'vfio_iommu_type1',
  'vfio_pci',
  'nvme',
  'veth',
  'bridge',
  'macvtap',
  'loop',
  'overlay',
  'fuse',
  'squashfs',
  'erofs',
];

/** Takes these modules from a folder of a kernel's. */
export function modulesIn(folder: string): Promise<KernelModule[]> {
  return resolveModules(folder, hostModules, async (file) =>
    execFileSync('xz', ['-dc', '--', file], { maxBuffer: 64 * 2 ** 20 }),
  );
}

/** Takes these modules from the very kernel package that the default guest is made of, in the order of their loading. */
export async function labModules(release: string): Promise<KernelModule[]> {
  const scratch = await mkdtemp(path.join(tmpdir(), 'polyvisor-lab-'));
  const scope = { scratch, signal: undefined, report: (): void => undefined };
  try {
    const { kernel, source } = await resolvePackages(scope);
    const store = path.join(places().images, '.packages');
    await mkdir(store, { recursive: true, mode: 0o700 });
    const folder = await unpackPackage(await obtainPackage(kernel, source, store, scope), kernel.name, scope);
    const [found] = await readdir(path.join(folder, 'lib', 'modules'));
    if (found !== release) throw new Error(`the lab boots kernel ${release}, and the package holds ${found}`);
    return await resolveModules(path.join(folder, 'lib', 'modules', release), hostModules, () => {
      throw new Error('this kernel has compressed modules');
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
