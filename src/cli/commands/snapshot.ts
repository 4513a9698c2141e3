import { type Command, Option } from 'commander';
import { interruptible } from '../interrupts.ts';
import { timeMs } from '../option-values.ts';
import { forEachName, newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';
import { table } from '../table.ts';

interface SnapshotFlags {
  timeout?: number;
  json?: boolean;
}

interface RestoreFlags extends SnapshotFlags {
  growable?: boolean;
  name?: string;
  trust?: boolean;
}

/** `polyvisor snapshot` */
export function snapshot(): Command {
  const command = newCommand(
    'snapshot',
    "Saves a running VM's memory and devices, and makes VMs that go on from there.",
    ['snapshot create web before', 'snapshot restore before --name web2', 'snapshot ls'],
  );
  command.addCommand(create());
  command.addCommand(list());
  command.addCommand(inspect());
  command.addCommand(restore());
  command.addCommand(remove());
  return command;
}

function create(): Command {
  return newCommand(
    'create',
    'Saves a VM; the VM stands still meanwhile. Disks are not part of it. Prints the name of the snapshot, or its folder.',
    ['snapshot create web before', 'snapshot create web ./saved'],
  )
    .summary('save a VM')
    .argument('<vm>', 'name of the VM')
    .argument('<snapshot>', 'a name; or a folder that does not exist or is empty, with a slash in its path')
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
    ['snapshot restore before --name web2', 'snapshot restore ./saved'],
  )
    .summary('make a VM of a snapshot')
    .argument('<snapshot>', 'name of the snapshot, or the path of its folder')
    .option('--name <name>', 'name of the VM (default: one is made up)')
    .option('--trust', 'although it was signed with another key: who made it decides what the VMM does')
    .option('--growable', 'its memory is to grow: a Cloud Hypervisor then reads it, and is slower')
    .addOption(new Option('--timeout <time>', 'most time for it').argParser(timeMs))
    .option('--json', 'print what was made as JSON')
    .action(async (folder: string, { name, trust, growable, timeout, json }: RestoreFlags) => {
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const options = { name, trust, growable, detached: true, signal, timeoutMs: timeout };
        const vm = await Vm.restore(folder, options);
        await vm.close();
        if (json === true) printJson({ name: vm.name, id: vm.id, hypervisor: vm.hypervisor });
        else print(vm.name);
      });
    });
}

function list(): Command {
  return newCommand('ls', 'Lists the snapshots that have a name.', ['snapshot ls', 'snapshot ls --json'])
    .summary('list snapshots')
    .alias('list')
    .option('-q, --quiet', 'names only')
    .option('--json', 'print a JSON array')
    .action(async (flags: { quiet?: boolean; json?: boolean }) => {
      const { listSnapshots } = await import('../../sandbox/snapshot-store.ts');
      const snapshots = await listSnapshots();
      if (flags.json === true)
        return printJson(snapshots.map(({ problem, ...it }) => ({ ...it, problem: problem?.rawMessage })));
      if (flags.quiet === true) return snapshots.forEach(({ name }) => print(name));
      const rows = snapshots.map(({ name, state, info }) => [
        name,
        state,
        info?.name ?? '',
        info?.hypervisor ?? '',
        info?.size.memoryMiB === undefined ? '' : `${info.size.memoryMiB}MiB`,
        info?.createdAt ?? '',
      ]);
      print(table(['NAME', 'STATE', 'VM', 'HYPERVISOR', 'MEMORY', 'CREATED'], rows));
    });
}

function inspect(): Command {
  return newCommand(
    'inspect',
    'Reads snapshots and checks that they are whole. Prints all about them, as a JSON array.',
    ['snapshot inspect before', 'snapshot inspect ./saved'],
  )
    .summary('check snapshots, and print all about them')
    .argument('<snapshot...>', 'names, or paths of folders')
    .option('--trust', 'although one was signed with another key')
    .option('--json', 'as always')
    .action(async (targets: string[], { trust }: { trust?: boolean }) => {
      const { inspectSnapshot } = await import('../../sandbox/snapshot-store.ts');
      const found = [];
      for (const target of targets) found.push(await inspectSnapshot(target, { trust }));
      printJson(found);
    });
}

function remove(): Command {
  return newCommand('rm', 'Removes snapshots; VMs that were made of them go on. Prints their names.', [
    'snapshot rm before',
  ])
    .summary('remove snapshots')
    .argument('<name...>', 'names of snapshots')
    .option('--json', 'print a JSON array of what was removed')
    .action(async (names: string[], flags: { json?: boolean }) => {
      const { removeSnapshot } = await import('../../sandbox/snapshot-store.ts');
      await forEachName(names, removeSnapshot, flags);
    });
}
