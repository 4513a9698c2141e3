import type { HostFacts } from '../../config/host.ts';
import type { HostVerdict } from '../hypervisor.ts';
import { probeProgram } from '../program-probe.ts';

/** Finds QEMU and asks for its version. */
export function probe(host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  return probeProgram({
    name: 'QEMU',
    program: `qemu-system-${host.arch === 'amd64' ? 'x86_64' : 'aarch64'}`,
    path: hypervisorPath,
    version: /version (\d+\.\d+(?:\.\d+)?)/,
    // The first that takes `-device` as JSON (QEMU's ChangeLog for 6.2).
    oldest: [6, 2],
    install: 'Install it (Debian: `apt install qemu-system-x86`), or name its path with `hypervisorPath`.',
  });
}
