import type { Command } from 'commander';
import type { VmSummary } from '../../sandbox/inspect.ts';
import { newCommand } from '../command.ts';
import { exitCodeOfVm } from '../ending-text.ts';
import { interruptible } from '../interrupts.ts';
import { print, printJson } from '../output.ts';

/** `polyvisor wait` */
export function wait(): Command {
  return newCommand(
    'wait',
    "Waits until VMs have ended, and prints each VMM's exit code (128+n when signal n ended it, `unknown` when nobody saw it).",
    ['wait web', 'wait --json web db'],
  )
    .argument('<name...>', 'names of VMs')
    .option('--json', 'print a JSON array that says how each ended')
    .action((names: string[], flags: { json?: boolean }) =>
      interruptible(async ({ signal }) => {
        const { waitForVm } = await import('../../sandbox/wait-vm.ts');
        const endings = names.map((name) => waitForVm(name, { signal }));
        if (flags.json === true) return printJson((await Promise.all(endings)).map(asData));
        // In the order of the names, as with docker.
        await Promise.allSettled(endings);
        for (const ending of endings) print(`${exitCodeOfVm((await ending).ended) ?? 'unknown'}`);
      }),
    );
}

function asData({ name, id, ended }: Pick<VmSummary, 'name' | 'id' | 'ended'>): object {
  return { name, id, ...ended };
}
