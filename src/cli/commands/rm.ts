import type { Command } from 'commander';
import { forEachName, newCommand } from '../command.ts';

/** `polyvisor rm` */
export function rm(): Command {
  return newCommand('rm', 'Removes VMs and all their files. Prints the names.', ['rm web', 'rm -f web db'])
    .argument('<name...>', 'names of VMs')
    .option('-f, --force', 'end a VM that runs; copy no folders back')
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], flags: { force?: boolean; json?: boolean }) => {
      const { removeVm } = await import('../../sandbox/inspect.ts');
      await forEachName(names, (name) => removeVm(name, { force: flags.force === true }), flags);
    });
}
