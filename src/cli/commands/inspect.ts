import type { Command } from 'commander';
import { newCommand } from '../command.ts';
import { printJson } from '../output.ts';

/** `polyvisor inspect` */
export function inspect(): Command {
  return newCommand('inspect', 'Prints all that is known of a VM, as a JSON object.', ['inspect web'])
    .argument('<name>', 'name of the VM')
    .option('--json', 'as always')
    .action(async (name: string) => {
      const { inspectVm } = await import('../../sandbox/inspect.ts');
      printJson(await inspectVm(name));
    });
}
