import type { HostFacts } from '../../config/host.ts';
import type { HostVerdict } from '../hypervisor.ts';
import { probeProgram } from '../program-probe.ts';
import { defectsOf } from './probe-versions.ts';

/** Finds Firecracker, asks for its version, and tells what is known to be wrong with it. */
export async function probe(_host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  const verdict = await probeProgram({
    name: 'Firecracker',
    program: 'firecracker',
    path: hypervisorPath,
    // `Firecracker v1.16.1`, and lines about snapshots after it; `v1.17.0-dev` from its sources.
    version: /^Firecracker v(\d+\.\d+\.\d+\S*)/m,
    // The first with PUT /serial, by which the guest's console has a file of its own (CHANGELOG of 1.14).
    oldest: [1, 14],
    install: 'Get it from its release page, put `firecracker` on the PATH, or name its path with `hypervisorPath`.',
  });
  const defects = defectsOf(verdict.version).map(({ problem, advice }) => ({
    problem: `Firecracker ${verdict.version}: ${problem}`,
    advice,
  }));
  return { ...verdict, findings: [...verdict.findings, ...defects] };
}
