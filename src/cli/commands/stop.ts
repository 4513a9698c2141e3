import { type Command, Option } from 'commander';
import { forEachName, newCommand } from '../command.ts';
import { tellNotice } from '../notices.ts';
import { timeMs } from '../option-values.ts';

/** `polyvisor stop` */
export function stop(): Command {
  return newCommand(
    'stop',
    'Ends VMs: asks the guest to power off, then forces it. Prints the names; files stay until `polyvisor rm`.',
    ['stop web', 'stop -t 30s web db'],
  )
    .argument('<name...>', 'names of VMs')
    .addOption(
      new Option('-t, --time <time>', 'how long the guest may take to power off (default: 10s)').argParser(timeMs),
    )
    .option('-f, --force', 'do not ask the guest, and copy no folders back')
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], { time, force, json }: { time?: number; force?: boolean; json?: boolean }) => {
      const { stopVm } = await import('../../sandbox/stop-vm.ts');
      // As with docker: what has ended already is as it was wanted.
      await forEachName(
        names,
        async (name) => void (await stopVm(name, { graceMs: time, force, onNotice: tellNotice(name) })),
        { json },
      );
    });
}
