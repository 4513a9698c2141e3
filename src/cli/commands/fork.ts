import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { collect, timeMs, wholeNumber } from '../option-values.ts';
import { print, printJson } from '../output.ts';

interface ForkFlags {
  count?: number;
  name?: string[];
  timeout?: number;
  json?: boolean;
}

/** `polyvisor fork` */
export function fork(): Command {
  return newCommand(
    'fork',
    'Makes VMs that go on where a running VM is now, and leaves them running. That VM stands still for a moment only. Prints their names.',
    ['fork web', 'fork web -n 3', 'fork web --name blue --name green'],
  )
    .argument('<vm>', 'name of the VM')
    .addOption(
      new Option('-n, --count <number>', 'how many (default: one, or as many as have names)').argParser(wholeNumber),
    )
    .addOption(new Option('--name <name>', 'name of a fork; repeatable (default: made up)').argParser(collect))
    .addOption(new Option('--timeout <time>', 'most time for it').argParser(timeMs))
    .option('--json', 'print a JSON object')
    .action(async (name: string, { count, name: names, timeout, json }: ForkFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const vm = await Vm.open(name);
        let pauseMs = 0;
        const onPause = (ms: number): void => void (pauseMs = ms);
        const options = { names, detached: true, signal, timeoutMs: timeout, onPause };
        const forks = await vm.fork(count ?? names?.length ?? 1, options);
        for (const one of forks) await one.close();
        const made = forks.map(({ name: of, id }) => ({ name: of, id }));
        if (json === true) printJson({ forks: made, pauseMs: Math.round(pauseMs) });
        else made.forEach(({ name: of }) => print(of));
      });
    });
}
