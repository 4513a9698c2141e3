import type { Command } from 'commander';
import { forEachName, newCommand } from '../command.ts';

/** `polyvisor resume` */
export function resume(): Command {
  return newCommand('resume', 'Lets the vCPUs of paused VMs go on. Prints the names.', ['resume web', 'resume web db'])
    .argument('<name...>', 'names of VMs')
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], flags: { json?: boolean }) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await forEachName(names, async (name) => (await Vm.open(name)).resume(), flags);
    });
}
