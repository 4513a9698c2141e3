import type { Command } from 'commander';
import type { DoctorReport } from '../../sandbox/doctor.ts';
import { newCommand } from '../command.ts';
import { inOurWords } from '../errors.ts';
import { print, printJson } from '../output.ts';
import { table } from '../table.ts';

/** `polyvisor doctor` */
export function doctor(): Command {
  return newCommand(
    'doctor',
    'Says what this host can do for each hypervisor and, where it cannot, why and what to do.',
    ['doctor', 'doctor --json'],
  )
    .option('--json', 'print a JSON object')
    .action(async (flags: { json?: boolean }) => {
      const library = await import('../../sandbox/doctor.ts');
      const report = await library.doctor();
      if (flags.json === true) printJson(report);
      else print(doctorText(report));
    });
}

/** The report for people. */
export function doctorText({ host, kvm, hypervisors, confinement, image }: DoctorReport): string {
  const rows = hypervisors.map(({ type, usable, accel = '', version = '', path = '' }) => [
    type,
    usable ? 'yes' : 'no',
    accel,
    version,
    path,
  ]);
  const findings = hypervisors.flatMap(({ type, findings: found }) =>
    found.flatMap(({ problem, advice }) => [
      problem.startsWith(`${type}:`) ? problem : `${type}: ${problem}`,
      `  -> ${inOurWords(advice)}`,
    ]),
  );
  return [
    `host    ${host.arch}, ${host.cpus} CPUs, ${host.memoryMiB} MiB of memory`,
    `kvm     ${{ usable: 'yes', broken: 'no', doubtful: 'perhaps' }[kvm.state]}: ${kvm.reason}`,
    `confine ${confinement.level}${confinement.missing.length === 0 ? ': every measure can be taken' : `: ${confinement.missing.length} of its measures can not be taken`}`,
    ...confinement.missing.flatMap(({ measure, reason, advice }) => [
      `        without ${measure}: ${reason}`,
      `          -> ${inOurWords(advice)}`,
    ]),
    `guest   ${image === undefined ? 'not built yet: `polyvisor image build`, or the first run makes it' : `${image.name}, Linux ${image.kernelRelease}`}`,
    '',
    table(['HYPERVISOR', 'USABLE', 'ACCEL', 'VERSION', 'PROGRAM'], rows),
    ...(findings.length > 0 ? ['', ...findings] : []),
  ].join('\n');
}
