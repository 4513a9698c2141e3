import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { memoryMiB, timeMs, wholeNumber } from '../option-values.ts';
import { print, printJson } from '../output.ts';

interface ResizeFlags {
  cpus?: number;
  memory?: number;
  timeout?: number;
  json?: boolean;
}

/** `polyvisor resize` */
export function resize(): Command {
  return newCommand('resize', 'Gives a running VM another number of vCPUs or another size of memory.', [
    'resize web --cpus 4',
    'resize web --memory 4G',
  ])
    .argument('<name>', 'name of the VM')
    .addOption(new Option('--cpus <number>', 'vCPUs, up to the `maxVcpus` it was made with').argParser(wholeNumber))
    .addOption(
      new Option(
        '-m, --memory <size>',
        'memory, such as 512M or 2G; rounded up to what the guest adds memory by',
      ).argParser(memoryMiB),
    )
    .addOption(new Option('--timeout <time>', 'most time for it (default: 60s)').argParser(timeMs))
    .option('--json', 'print the figures as JSON')
    .action(async (name: string, { cpus, memory, timeout, json }: ResizeFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      const vm = await Vm.connect(name);
      try {
        const done = await vm.resize({ vcpus: cpus, memoryMiB: memory, timeoutMs: timeout });
        if (json === true) return printJson(done);
        if (done.vcpus !== undefined) print(`vCPUs: ${done.vcpus.before} -> ${done.vcpus.after}`);
        if (done.memoryMiB !== undefined) print(`memory: ${done.memoryMiB.before} -> ${done.memoryMiB.after} MiB`);
      } finally {
        await vm.close();
      }
    });
}
