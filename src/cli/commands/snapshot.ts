import { type Command, Option } from 'commander';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';

interface SnapshotFlags {
  timeout?: number;
  json?: boolean;
}

interface RestoreFlags extends SnapshotFlags {
  name?: string;
}

/** `polyvisor snapshot` */
export function snapshot(): Command {
  const command = newCommand(
    'snapshot',
    "Saves a running VM's memory and devices, and makes VMs that go on from there.",
    ['snapshot create web ./saved', 'snapshot restore ./saved --name web2'],
  );
  command.addCommand(create());
  command.addCommand(restore());
  return command;
}

function create(): Command {
  return newCommand(
    'create',
    'Saves a VM into a new folder; the VM stands still meanwhile. Disks are not part of it.',
    ['snapshot create web ./saved'],
  )
    .summary('save a VM into a folder')
    .argument('<name>', 'name of the VM')
    .argument('<folder>', 'a folder that does not exist, or is empty')
    .addOption(new Option('--timeout <time>', 'most time for it').argParser(timeMs))
    .option('--json', 'print what was made as JSON')
    .action(async (name: string, folder: string, { timeout, json }: SnapshotFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const vm = await Vm.open(name);
        let bytes = 0;
        await vm.snapshot(folder, { signal, timeoutMs: timeout, onProgress: (written) => (bytes = written) });
        if (json === true) printJson({ name, folder, bytes });
        else print(folder);
      });
    });
}

function restore(): Command {
  return newCommand(
    'restore',
    'Makes a VM that goes on where a snapshot was made, and leaves it running. Prints its name.',
    ['snapshot restore ./saved --name web2'],
  )
    .summary('make a VM of a snapshot')
    .argument('<folder>', 'folder of the snapshot')
    .option('--name <name>', 'name of the VM (default: one is made up)')
    .addOption(new Option('--timeout <time>', 'most time for it').argParser(timeMs))
    .option('--json', 'print what was made as JSON')
    .action(async (folder: string, { name, timeout, json }: RestoreFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const vm = await Vm.restore(folder, { name, detached: true, signal, timeoutMs: timeout });
        await vm.close();
        if (json === true) printJson({ name: vm.name, id: vm.id, hypervisor: vm.hypervisor });
        else print(vm.name);
      });
    });
}
