import { constants } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { forEachName, newCommand } from '../command.ts';

interface KillFlags {
  signal: NodeJS.Signals;
  json?: boolean;
}

/** `polyvisor kill` */
export function kill(): Command {
  return newCommand(
    'kill',
    'Ends VMs at once, without asking the guest; or sends their VMMs another signal. Prints the names; files stay.',
    ['kill web', 'kill -s TERM web'],
  )
    .argument('<name...>', 'names of VMs')
    .addOption(
      new Option('-s, --signal <signal>', 'a name or number, sent to the VMM itself')
        .argParser(signalName)
        .default('SIGKILL'),
    )
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], { signal, json }: KillFlags) => {
      const { killVm } = await import('../../sandbox/kill-vm.ts');
      await forEachName(names, (name) => killVm(name, signal), { json });
    });
}

/** `KILL`, `SIGKILL`, `9`: all the same. */
function signalName(text: string): NodeJS.Signals {
  const name = `SIG${text.toUpperCase().replace(/^SIG/, '')}`;
  const found = Object.entries(constants.signals).find(([key, value]) => key === name || `${value}` === text);
  if (found === undefined) throw new InvalidArgumentError('There is no such signal.');
  return found[0] as NodeJS.Signals;
}
