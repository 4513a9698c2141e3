import type { Command } from 'commander';
import type { VmSummary } from '../../sandbox/inspect.ts';
import { newCommand } from '../command.ts';
import { statusText } from '../ending-text.ts';
import { print, printJson } from '../output.ts';
import { table } from '../table.ts';
import { age } from '../units.ts';

const headings = ['NAME', 'HYPERVISOR', 'ACCEL', 'STATUS', 'VCPUS', 'MEMORY', 'AGE', 'PID'];
/** A VM in any other status is shown with `-a` only. */
const lively: readonly string[] = ['creating', 'created', 'starting', 'running', 'paused'];

/** `polyvisor ls` */
export function ls(): Command {
  return newCommand('ls', 'Lists the VMs that run.', ['ls', 'ls -a --json', 'rm -f $(polyvisor ls -aq)'])
    .option('-a, --all', 'those that ended too')
    .option('-q, --quiet', 'names only')
    .option('--json', 'print a JSON array')
    .action(async (flags: { all?: boolean; quiet?: boolean; json?: boolean }) => {
      const { listVms } = await import('../../sandbox/inspect.ts');
      const vms = (await listVms()).filter(({ status }) => flags.all === true || lively.includes(status));
      if (flags.json === true) printJson(flags.quiet === true ? vms.map(({ name }) => name) : vms);
      else if (flags.quiet === true) vms.forEach(({ name }) => print(name));
      else print(listing(vms));
    });
}

/** VMs as a table. */
export function listing(vms: readonly VmSummary[], now?: number): string {
  const rows = vms.map((vm) => {
    const { name, hypervisor, accel = '', vcpus = '', memoryMiB, createdAt, pid = '' } = vm;
    const memory = memoryMiB === undefined ? '' : `${memoryMiB}M`;
    return [name, hypervisor, accel, statusText(vm, now), `${vcpus}`, memory, age(createdAt, now), `${pid}`];
  });
  return table(headings, rows);
}
