import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import type { LogOptions, LogSource } from '../../sandbox/logs.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { pastTime, wholeNumber } from '../option-values.ts';
import { printableText } from '../printable-text.ts';

const sources: readonly LogSource[] = ['console', 'vmm', 'agent'];

interface LogFlags {
  follow?: boolean;
  since?: Date;
  source: LogSource;
  tail?: number;
}

/** `polyvisor logs` */
export function logs(): Command {
  return newCommand('logs', "Prints what a VM's guest wrote on its console, or what its VMM or its agent wrote.", [
    'logs web',
    'logs -f --tail 20 web',
    'logs --source vmm --since 10m web',
  ])
    .argument('<name>', 'name of the VM')
    .option('-f, --follow', 'go on with what comes, until the VM has ended')
    .addOption(
      new Option(
        '--since <time>',
        'leave out what is surely older: 10m for ten minutes ago, or 2026-01-31T12:00:00Z; of the console only the lines of the ' +
          'agent tell their time',
      ).argParser(pastTime),
    )
    .addOption(
      new Option('--source <source>', "whose words; agent: the agent's lines on the console")
        .choices(sources)
        .default('console'),
    )
    .addOption(new Option('-n, --tail <lines>', 'the last lines only').argParser(wholeNumber))
    .action(async (name: string, { follow, since, source, tail }: LogFlags) => {
      const { vmLog } = await import('../../sandbox/logs.ts');
      await interruptible(async ({ signal }) => {
        const options: LogOptions = { follow, since, source, lines: tail, signal };
        const log = Readable.from(vmLog(name, options));
        // A guest must not be able to play on our user's terminal; a file or a pipe gets every byte.
        const steps = process.stdout.isTTY ? [log, printableText(), process.stdout] : [log, process.stdout];
        await pipeline(steps, { end: false });
      });
    });
}
