import type { Command } from 'commander';
import { newCommand } from '../command.ts';
import { addDeviceFlags, type DeviceFlags } from '../device-flags.ts';
import { interruptible } from '../interrupts.ts';
import { print, printJson } from '../output.ts';
import { addPortFlag, type PortFlags } from '../port-flags.ts';
import { openProgress } from '../progress.ts';
import { addVmFlags, type VmFlags } from '../vm-flags.ts';
import { settle, tellSettings } from '../vm-settings.ts';

interface CreateFlags extends VmFlags, DeviceFlags, PortFlags {
  quiet?: boolean;
  json?: boolean;
}

/** `polyvisor create` */
export function create(): Command {
  const command = newCommand('create', 'Makes a VM and checks all about it, but starts nothing. Prints its name.', [
    'create --name web -m 1G && polyvisor start web',
  ]);
  return addPortFlag(addDeviceFlags(addVmFlags(command)))
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action((flags: CreateFlags) =>
      interruptible(async ({ signal }) => {
        const { Vm } = await import('../../sandbox/vm.ts');
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const onEvent = progress.onEvent.bind(progress);
        const settled = await settle(flags);
        const options = { ...settled.options, start: false, detached: true, signal, onEvent };
        if (flags.quiet !== true) tellSettings(settled.settings);
        const vm = await Vm.create(options)
          .catch(settled.explain)
          .finally(() => progress.end());
        if (flags.publish !== undefined) await vm.publishPorts(flags.publish);
        await vm.close();
        if (flags.json === true) printJson({ name: vm.name, id: vm.id, hypervisor: vm.hypervisor });
        else print(vm.name);
      }),
    );
}
