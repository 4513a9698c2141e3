import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import type { Vm } from '../../sandbox/vm.ts';
import { forEachName, newCommand } from '../command.ts';
import { exitCodeOfVm } from '../ending-text.ts';
import { exitCodes } from '../exit-codes.ts';
import { interruptible } from '../interrupts.ts';
import { timeMs } from '../option-values.ts';
import { printableText } from '../printable-text.ts';

interface StartFlags {
  attach?: boolean;
  startTimeout?: number;
  json?: boolean;
}

/** `polyvisor start` */
export function start(): Command {
  return newCommand(
    'start',
    'Starts VMs that were created, or that have ended, with their configuration. They live on by themselves. Prints the names.',
    ['start web', 'start -a web'],
  )
    .argument('<name...>', 'names of VMs')
    .addOption(
      new Option('-a, --attach', "print the guest's console until the VM ends, and exit as its VMM does").conflicts(
        'json',
      ),
    )
    .addOption(
      new Option(
        '--start-timeout <time>',
        'most time until the guest answers (default: 60s, 180s without KVM)',
      ).argParser(timeMs),
    )
    .option('--json', 'print a JSON array of the names')
    .action(async (names: string[], flags: StartFlags, self: Command) => {
      if (flags.attach !== true) return forEachName(names, (name) => startOne(name, flags), flags);
      const [name] = names;
      if (name === undefined || names.length > 1) self.error('error: --attach takes one VM');
      return startAttached(name, flags);
    });
}

/** As with docker: what runs already is as it was wanted. */
async function startOne(name: string, flags: StartFlags): Promise<void> {
  await interruptible(async ({ signal }) => {
    const vm = await started(name, flags, signal);
    await vm?.close();
  });
}

async function started(name: string, { startTimeout }: StartFlags, signal: AbortSignal): Promise<Vm | undefined> {
  const { Vm: library } = await import('../../sandbox/vm.ts');
  const vm = await library.open(name);
  const { status } = await vm.inspect();
  if (status === 'running' || status === 'paused') return undefined;
  return vm.start({ detached: true, startTimeoutMs: startTimeout, signal });
}

/** The VM goes on when this is interrupted: it was started to live by itself. */
async function startAttached(name: string, flags: StartFlags): Promise<void> {
  await interruptible(async ({ signal }) => {
    const { Vm: library } = await import('../../sandbox/vm.ts');
    const { vmLog } = await import('../../sandbox/logs.ts');
    const vm = (await started(name, flags, signal)) ?? (await library.open(name));
    await vm.close();
    const log = Readable.from(vmLog(name, { follow: true, signal }));
    // A guest must not be able to play on our user's terminal; a file or a pipe gets every byte.
    const steps = process.stdout.isTTY ? [log, printableText(), process.stdout] : [log, process.stdout];
    await pipeline(steps, { end: false });
    await vm.wait({ signal });
    process.exitCode = exitCodeOfVm((await vm.inspect()).ended) ?? exitCodes.ours;
  });
}
