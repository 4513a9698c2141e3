import type { Command } from 'commander';
import { forEachName, newCommand } from '../command.ts';

/** `polyvisor pause` */
export function pause(): Command {
  return newCommand('pause', 'Stops the vCPUs of VMs; their memory stays. Prints the names.', [
    'pause web',
    'pause web db',
  ])
    .argument('<name...>', 'names of VMs')
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], flags: { json?: boolean }) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await forEachName(names, async (name) => (await Vm.open(name)).pause(), flags);
    });
}
