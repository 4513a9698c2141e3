import type { Command } from 'commander';
import { newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';

/** `polyvisor rename` */
export function rename(): Command {
  return newCommand('rename', 'Gives a VM another name, also while it runs. Prints the new name.', ['rename web shop'])
    .argument('<name>', 'its name now')
    .argument('<new-name>', 'the name that it gets; one that is taken is refused')
    .option('--json', 'print a JSON object')
    .action(async (from: string, to: string, flags: { json?: boolean }) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      const vm = await Vm.open(from);
      await vm.rename(to);
      if (flags.json === true) printJson({ name: vm.name, id: vm.id, from });
      else print(vm.name);
    });
}
