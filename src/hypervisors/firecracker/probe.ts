import type { HostFacts } from '../../config/host.ts';
import type { HostVerdict } from '../hypervisor.ts';
import { probeProgram } from '../program-probe.ts';

/** Finds Firecracker and asks for its version. */
export function probe(_host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  return probeProgram({
    name: 'Firecracker',
    program: 'firecracker',
    path: hypervisorPath,
    // `Firecracker v1.16.1`, and lines about snapshots after it.
    version: /^Firecracker v(\d+\.\d+\.\d+\S*)/m,
    // The first with PUT /serial, by which the guest's console has a file of its own (CHANGELOG of 1.14).
    oldest: [1, 14],
    install: 'Get it from its release page, put `firecracker` on the PATH, or name its path with `hypervisorPath`.',
  });
}
