import { existsSync } from 'node:fs';
import { buildAcrnRig } from '../../test/rigs/build.ts';
import { bringTestpmd, testpmdFiles } from '../../test/rigs/testpmd.ts';
import { type Cargo, folderCargo, locate } from './programs.ts';

/** A VMM that the lab can try: what it needs from the caller, and which tests are its own. */
export interface LabVmm {
  /** hypervisor id */
  type: string;
  test: string;
  /** what measures it against the bare binary */
  bench?: string;
  /** variables that name its programs, by the path at which the lab has them */
  programs: Readonly<Record<string, string>>;
  /** what of this host it calls */
  tools?: readonly string[];
  /** what is built here for it, by the path at which the lab has it */
  builds?: Readonly<Record<string, () => string>>;
  /** what else is brought for it */
  cargo?: () => Cargo[];
}

/** Programs in the lab are at fixed paths, which its tests know by the same variables. */
export const labVmms: readonly LabVmm[] = [
  { type: 'qemu', test: 'test/lab/qemu.test.ts', programs: { POLYVISOR_QEMU: '/usr/bin/qemu-system-x86_64' } },
  {
    type: 'firecracker',
    test: 'test/lab/firecracker.test.ts',
    bench: 'scripts/lab/bench-firecracker.ts',
    programs: { POLYVISOR_FIRECRACKER: '/usr/bin/firecracker', POLYVISOR_JAILER: '/usr/bin/jailer' },
  },
  {
    type: 'clh',
    test: 'test/lab/cloud-hypervisor.test.ts',
    bench: 'scripts/lab/bench-cloud-hypervisor.ts',
    programs: { POLYVISOR_CLOUD_HYPERVISOR: '/usr/bin/cloud-hypervisor' },
    cargo: testpmdCargo,
  },
  {
    type: 'acrn',
    test: 'test/lab/acrn.test.ts',
    programs: { POLYVISOR_ACRN_DM: '/usr/bin/acrn-dm', POLYVISOR_ACRNCTL: '/usr/bin/acrnctl' },
    tools: ['iasl'],
    builds: { '/usr/lib/acrn-hsm-kvm.so': buildAcrnRig },
  },
];

/** The other end of a network card that a process serves. */
function testpmdCargo(): Cargo[] {
  const folder = bringTestpmd();
  const { program, libraries, plugins } = testpmdFiles(folder);
  return folderCargo(folder, '/lab/testpmd', [program, ...plugins], libraries);
}

/** The host's paths of a VMM's programs, or which variable names none. QEMU is the host's own unless one is named. */
export function programsOf(vmm: LabVmm): { paths: Map<string, string> } | { missing: string } {
  const paths = new Map<string, string>();
  for (const [variable, inLab] of Object.entries(vmm.programs)) {
    const given = process.env[variable] ?? (vmm.type === 'qemu' ? locate('qemu-system-x86_64') : undefined);
    if (given === undefined) return { missing: `${variable} is not set` };
    if (!existsSync(given)) return { missing: `${variable} names ${given}, which is not there` };
    paths.set(inLab, given);
  }
  for (const tool of vmm.tools ?? []) paths.set(`/usr/bin/${tool}`, locate(tool));
  for (const [inLab, build] of Object.entries(vmm.builds ?? {})) paths.set(inLab, build());
  return { paths };
}
