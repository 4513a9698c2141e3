import type { HostFacts } from '../../config/host.ts';
import type { HostVerdict } from '../hypervisor.ts';
import { probeProgram } from '../program-probe.ts';

/** Finds Cloud Hypervisor and asks for its version. */
export function probe(_host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  return probeProgram({
    name: 'Cloud Hypervisor',
    program: 'cloud-hypervisor',
    path: hypervisorPath,
    // `cloud-hypervisor v53.0`, `v53.0.0` or, built from a commit, `v53.0-12-gabcdef0`.
    version: /^cloud-hypervisor v?(\d+\.\d+\S*)/m,
    // The first whose payload is kernel and initramfs in one field (release notes of v28).
    oldest: [28, 0],
    install:
      'Get it from its release page, put `cloud-hypervisor` on the PATH, or name its path with `hypervisorPath`.',
  });
}
