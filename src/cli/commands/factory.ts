import { type Command, Option } from 'commander';
import type { MemoryPlace } from '../../factory/memory-folder.ts';
import type { TemplateSummary } from '../../sandbox/template.ts';
import { VmError } from '../../errors.ts';
import { forEachName, newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { timeMs } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';
import { table } from '../table.ts';
import { addVmFlags, type VmFlags } from '../vm-flags.ts';
import { settle, tellSettings } from '../vm-settings.ts';

interface InitFlags extends VmFlags {
  place?: MemoryPlace;
  timeout?: number;
  quiet?: boolean;
  json?: boolean;
}

/** `polyvisor factory` */
export function factory(): Command {
  return newCommand(
    'factory',
    'Makes templates: guests that were booted and saved, from which VMs are cloned in a tenth of the time.',
    ['factory init -m 512M', 'run --template default -- uname -a', 'factory status', 'factory destroy'],
  )
    .enablePositionalOptions()
    .addCommand(init())
    .addCommand(status())
    .addCommand(destroy());
}

function init(): Command {
  const command = newCommand(
    'init',
    'Boots a guest, runs a command in it if one is given, and saves it as a template. Prints the name of the template.',
    [
      'factory init -m 512M',
      "factory init --name web --cpus 1 -- sh -c 'mkdir /srv/cache'",
      'run --template web -- ls /srv',
    ],
  )
    .summary('make a template')
    .argument('[command...]', 'what every clone is to have done already, and its arguments')
    .passThroughOptions();
  return addVmFlags(command)
    .addOption(
      new Option('--place <place>', 'where its memory is (default: auto, in tmpfs if there is room)').choices([
        'auto',
        'tmpfs',
        'disk',
      ]),
    )
    .addOption(new Option('--start-timeout <time>', 'most time until the guest answers').argParser(timeMs))
    .addOption(new Option('--timeout <time>', 'most time for all of it').argParser(timeMs))
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (argv: string[], flags: InitFlags) => {
      const settled = await settle(flags);
      if (flags.quiet !== true) tellSettings(settled.settings);
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const template = await Vm.template({
          ...settled.options,
          memory: flags.place,
          signal,
          timeoutMs: flags.timeout,
          onEvent: (event) => progress.onEvent(event),
          setup:
            argv.length === 0
              ? undefined
              : async (guest, call) => void (await guest.exec(argv, { ...call, check: true })),
        })
          .catch(settled.explain)
          .finally(() => progress.end());
        if (flags.json === true) printJson(template.info);
        else print(template.name);
      });
    });
}

function status(): Command {
  return newCommand('status', 'Lists the templates of this user, and whether VMs can be cloned from them.', [
    'factory status',
    'factory status --json',
  ])
    .summary('list templates')
    .option('-q, --quiet', 'names only')
    .option('--json', 'print a JSON array')
    .action(async (flags: { quiet?: boolean; json?: boolean }) => {
      const { listTemplates } = await import('../../sandbox/template.ts');
      const templates = await listTemplates();
      if (flags.json === true) {
        printJson(templates.map(({ problem, ...it }) => ({ ...it, problem: problem?.rawMessage })));
      } else if (flags.quiet === true) templates.forEach(({ name }) => print(name));
      else print(listing(templates));
      if (flags.json === true || flags.quiet === true) return;
      for (const { name, problem } of templates)
        if (problem !== undefined) process.stderr.write(`polyvisor: ${name}: ${problem.rawMessage}\n`);
    });
}

function destroy(): Command {
  return newCommand('destroy', 'Removes templates; clones that run go on. Prints their names.', [
    'factory destroy',
    'factory destroy web db',
    'factory destroy --all',
  ])
    .summary('remove templates')
    .argument('[name...]', 'names of templates (default: the template default)')
    .option('-a, --all', 'all templates')
    .option('--json', 'print a JSON array of what was removed')
    .action(async (names: string[], flags: { all?: boolean; json?: boolean }) => {
      const { listTemplates, removeTemplate } = await import('../../sandbox/template.ts');
      if (flags.all === true && names.length > 0)
        throw new VmError('INVALID_ARGUMENT', '--all is for all templates; it goes with no name');
      const all = flags.all === true ? (await listTemplates()).map(({ name }) => name) : undefined;
      await forEachName(all ?? (names.length > 0 ? names : ['default']), removeTemplate, flags);
    });
}

function listing(templates: readonly TemplateSummary[]): string {
  const rows = templates.map(({ name, state, info }) => [
    name,
    state,
    info?.hypervisor ?? '',
    info === undefined ? '' : `${info.config.vcpus}`,
    info === undefined ? '' : `${info.config.memoryMiB}MiB`,
    info?.memory ?? '',
    info?.shared === true ? 'shared' : info === undefined ? '' : 'copied',
    info?.createdAt ?? '',
  ]);
  return table(['NAME', 'STATE', 'HYPERVISOR', 'CPUS', 'MEMORY', 'PLACE', 'CLONES', 'CREATED'], rows);
}
