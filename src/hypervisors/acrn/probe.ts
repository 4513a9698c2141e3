import { execFile } from 'node:child_process';
import { access, constants, readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { HostFacts } from '../../config/host.ts';
import { findProgram } from '../../transports/process/find-program.ts';
import type { HostVerdict } from '../hypervisor.ts';
import { probeProgram } from '../program-probe.ts';

/** The oldest iasl that acrn-dm takes (IASL_MIN_VER in its acpi.c). */
const oldestIasl = 20_190_703;

/** Where the host shows its huge pages of 2 MiB. */
const hugePagesFolder = '/sys/kernel/mm/hugepages/hugepages-2048kB';

/** Finds acrn-dm, and looks whether this is a host for it. */
export async function probe(host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  const verdict = await findAcrnDm(host, hypervisorPath);
  const missing = (await Promise.all([hypervisor(), madt(), hugePages(), iasl()])).filter((one) => one !== undefined);
  return { ...verdict, usable: verdict.usable && missing.length === 0, findings: [...verdict.findings, ...missing] };
}

/** Finds acrn-dm and asks for its version; looks at nothing else. */
export function findAcrnDm(_host: HostFacts, hypervisorPath?: string): Promise<HostVerdict> {
  return probeProgram({
    name: 'acrn-dm',
    program: 'acrn-dm',
    path: hypervisorPath,
    // `DM: 3.4-unstable-2025-09-05-12:31:42-d61d98cf8 build by ...`; a build of the device model alone leaves the version out.
    version: /^DM: -?((?:\d+\.\d+|\d{4}-\d\d-\d\d)\S*)/m,
    // Older ones want other arguments; 3.4 is the one that was tried.
    oldest: [3, 3],
    install: 'Build it from the sources of ACRN (`make devicemodel`), or name its path with `hypervisorPath`.',
  });
}

type Finding = HostVerdict['findings'][number];

async function hypervisor(): Promise<Finding | undefined> {
  for (const device of ['/dev/acrn_hsm', '/dev/acrn_vhm']) {
    try {
      await access(device, constants.R_OK | constants.W_OK);
      return undefined;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      return {
        problem: `${device} may not be opened by this user`,
        advice: 'Run as root: acrn-dm needs what root may.',
      };
    }
  }
  return {
    problem: 'there is no /dev/acrn_hsm: this is not the Service VM of an ACRN hypervisor',
    advice: 'Boot ACRN with a Service VM whose kernel has CONFIG_ACRN_HSM, or use `qemu`.',
  };
}

async function madt(): Promise<Finding | undefined> {
  const table = '/sys/firmware/acpi/tables/APIC';
  try {
    await access(table, constants.R_OK);
    return undefined;
  } catch {
    return { problem: `acrn-dm can't read ${table}`, advice: 'Run as root, on a host with ACPI.' };
  }
}

async function hugePages(): Promise<Finding | undefined> {
  try {
    await stat(hugePagesFolder);
    await readFile(`${hugePagesFolder}/nr_hugepages`);
  } catch {
    return { problem: 'the kernel has no huge pages of 2 MiB', advice: 'Use a kernel with CONFIG_HUGETLBFS.' };
  }
  try {
    await access(`${hugePagesFolder}/nr_hugepages`, constants.W_OK);
    return undefined;
  } catch {
    return {
      problem: 'this user may not reserve huge pages, in which guests of ACRN have their memory',
      advice: `Run as root, or reserve them: \`echo 1032 > ${hugePagesFolder}/nr_hugepages\` is enough for 2 GiB.`,
    };
  }
}

/** Finds iasl, which acrn-dm calls for each table that it gives its guest. */
async function iasl(): Promise<Finding | undefined> {
  const advice = 'Debian: `apt install acpica-tools`.';
  const path = await findProgram('iasl').catch(() => undefined);
  if (path === undefined) return { problem: 'iasl is not on the PATH: acrn-dm cannot make ACPI tables', advice };
  try {
    const { stdout } = await promisify(execFile)(path, ['-v'], { timeout: 10_000, maxBuffer: 65_536 });
    const version = Number(/ASL\+ Optimizing Compiler\/Disassembler version (\d{8})/.exec(stdout)?.[1] ?? 0);
    if (version >= oldestIasl) return undefined;
    return {
      problem: `${path} is of ${version || 'an unknown version'}; acrn-dm wants ${oldestIasl} or newer`,
      advice,
    };
  } catch (error) {
    return { problem: `${path} does not run: ${error instanceof Error ? error.message : String(error)}`, advice };
  }
}
