import type { Command } from 'commander';
import { newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';

/** `polyvisor prune` */
export function prune(): Command {
  return newCommand(
    'prune',
    'Removes what dead processes left: VMs that were never finished, and those whose owner is gone.',
    ['prune'],
  )
    .argument('[name]', 'only this VM')
    .option('--json', 'print a JSON array of the names')
    .action(async (name: string | undefined, flags: { json?: boolean }) => {
      const library = await import('../../sandbox/prune.ts');
      const removed = await library.prune(name);
      if (flags.json === true) printJson(removed);
      else removed.forEach(print);
    });
}
