import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { byteCount, timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';

interface CommitFlags {
  maxSize?: number;
  timeout?: number;
  quiet?: boolean;
  json?: boolean;
}

/** `polyvisor commit` */
export function commit(): Command {
  const about =
    "Makes an image of a running VM's root file system: its image with what was written above it. Its commands stand still meanwhile. Prints " +
    "the image's name.";
  return newCommand('commit', about, ['commit web web:2', 'run --image web:2 -d --name web2'])
    .argument('<vm>', 'name of the VM')
    .argument('<image>', 'name of the image; one that has it already loses it')
    .addOption(
      new Option('--max-size <size>', 'most bytes of all files, such as 8G (default: 64G)').argParser(byteCount),
    )
    .addOption(new Option('--timeout <time>', 'most time, such as 5m (default: none)').argParser(timeMs))
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (name: string, image: string, flags: CommitFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const { maxSize: maxBytes, timeout: timeoutMs } = flags;
        const vm = await Vm.connect(name, { signal });
        try {
          const onEvent = progress.onImportEvent.bind(progress);
          const made = await vm.commit(image, { maxBytes, timeoutMs, signal, onEvent });
          progress.end();
          if (flags.json === true) printJson(made);
          else print(made.name);
        } finally {
          progress.end();
          await vm.close();
        }
      });
    });
}
