import type { GuestArch, HostFacts } from '../../config/host.ts';
import type { HostVerdict } from '../hypervisor.ts';
import { probeProgram } from '../program-probe.ts';

/** QEMU has one program for each architecture of a guest; Debian, one package. */
const programs: Readonly<Record<GuestArch, { program: string; debian: string }>> = {
  amd64: { program: 'qemu-system-x86_64', debian: 'qemu-system-x86' },
  arm64: { program: 'qemu-system-aarch64', debian: 'qemu-system-arm' },
};

/** Finds QEMU and asks for its version. @param arch the guest's; default: the host's */
export function probe(host: HostFacts, hypervisorPath?: string, arch?: GuestArch): Promise<HostVerdict> {
  const { program, debian } = programs[(arch ?? host.arch) === 'amd64' ? 'amd64' : 'arm64'];
  return probeProgram({
    name: 'QEMU',
    program,
    path: hypervisorPath,
    version: /version (\d+\.\d+(?:\.\d+)?)/,
    // The first that takes `-device` as JSON (QEMU's ChangeLog for 6.2).
    oldest: [6, 2],
    install: `Install it (Debian: \`apt install ${debian}\`), or name its path with \`hypervisorPath\`.`,
  });
}
