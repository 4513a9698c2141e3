import type { Command } from 'commander';
import { forEachName, newCommand } from '../command.ts';
import { tellNotice } from '../notices.ts';

/** `polyvisor sync` */
export function sync(): Command {
  return newCommand(
    'sync',
    "Brings this host's folders up to what the guests of running VMs have made of their copies, where the VMM shares no folders. Prints the names.",
    ['sync web', 'sync web db'],
  )
    .argument('<name...>', 'names of VMs')
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], flags: { json?: boolean }) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      const { noticesOf } = await import('../../sandbox/bring-back.ts');
      await forEachName(
        names,
        async (name) => {
          const vm = await Vm.connect(name);
          try {
            noticesOf(await vm.bringBack()).forEach(tellNotice(name));
          } finally {
            await vm.close();
          }
        },
        flags,
      );
    });
}
