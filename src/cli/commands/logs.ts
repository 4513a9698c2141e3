import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { wholeNumber } from '../option-values.ts';
import { printableText } from '../printable-text.ts';
import { readTail } from '../tail.ts';

/** `polyvisor logs` */
export function logs(): Command {
  return newCommand('logs', "Prints what a VM's guest wrote on its console, or what its VMM wrote.", [
    'logs web',
    'logs --source vmm --tail 20 web',
  ])
    .argument('<name>', 'name of the VM')
    .addOption(new Option('--source <source>', 'whose words').choices(['console', 'vmm']).default('console'))
    .addOption(new Option('-n, --tail <lines>', 'the last lines only').argParser(wholeNumber))
    .action(async (name: string, { source, tail }: { source: 'console' | 'vmm'; tail?: number }) => {
      const { logPath } = await import('../../sandbox/inspect.ts');
      const log = await readTail(await logPath(name, source), tail);
      // A guest must not be able to play on our user's terminal; a file or a pipe gets every byte.
      const steps = process.stdout.isTTY ? [log, printableText(), process.stdout] : [log, process.stdout];
      await pipeline(steps, { end: false });
    });
}
