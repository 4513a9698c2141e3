import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { tellNotice } from '../notices.ts';
import { timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';

interface DetachFlags {
  timeout?: number;
  json?: boolean;
}

/** `polyvisor detach` */
export function detach(): Command {
  return newCommand('detach', 'Takes devices from a running VM, when its guest has let go of them. Prints their ids.', [
    'detach web disk-3fa9c1',
  ])
    .argument('<name>', 'name of the VM')
    .argument('<id...>', 'ids of devices, as `attach` printed them and `inspect` lists them')
    .addOption(new Option('--timeout <time>', 'most time for each (default: 60s)').argParser(timeMs))
    .option('--json', 'print a JSON array')
    .action(async (name: string, ids: string[], { timeout, json }: DetachFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const vm = await Vm.connect(name, { signal });
        try {
          for (const id of ids) {
            await vm.detachDevice(id, { signal, timeoutMs: timeout, onNotice: tellNotice(name) });
            if (json !== true) print(id);
          }
          if (json === true) printJson(ids);
        } finally {
          await vm.close();
        }
      });
    });
}
