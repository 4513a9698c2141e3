import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Command, Option } from 'commander';
import type { GrpcStatus } from '../../factory/cache-service.ts';
import type { MemoryPlace } from '../../factory/memory-folder.ts';
import type { TemplateSummary } from '../../sandbox/template.ts';
import { VmError } from '../../errors.ts';
import { forEachName, newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { kataCache } from '../kata-cache.ts';
import { kataTemplate, kataTemplateName } from '../kata-template.ts';
import { timeMs, wholeNumber } from '../option-values.ts';
import { print, printJson } from '../output.ts';
import { openProgress } from '../progress.ts';
import { table } from '../table.ts';
import { addVmFlags, type VmFlags } from '../vm-flags.ts';
import { settle, type SettledOptions, tellSettings } from '../vm-settings.ts';

interface InitFlags extends VmFlags {
  cache?: number;
  endpoint?: string;
  template?: string;
  place?: MemoryPlace;
  timeout?: number;
  quiet?: boolean;
  json?: boolean;
}

interface DestroyFlags {
  all?: boolean;
  cache?: boolean;
  endpoint?: string;
  json?: boolean;
}

/** `polyvisor factory` */
export function factory(): Command {
  return newCommand(
    'factory',
    'Makes templates: guests that were booted and saved, from which VMs are cloned in a tenth of the time.',
    [
      'factory init -m 512M',
      'run --template default -- uname -a',
      'factory init --cache 4 --template default & polyvisor run --cached -- uname -a',
      'factory status',
      'factory destroy',
    ],
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
      "factory init --name web --cpus 1 -- sh -c 'mkdir /root/cache'",
      'run --template web -- ls /root',
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
    .addOption(
      new Option(
        '--cache <number>',
        'make no template: keep so many VMs ready for `run --cached`, until it is ended',
      ).argParser(wholeNumber),
    )
    .option('--template <name>', 'with --cache: the template that they are cloned from')
    .option('--endpoint <socket>', 'with --cache: where it listens (default: in the runtime folder)')
    .addOption(new Option('--start-timeout <time>', 'most time until the guest answers').argParser(timeMs))
    .addOption(new Option('--timeout <time>', 'most time for all of it').argParser(timeMs))
    .option('-q, --quiet', 'no progress on stderr')
    .option('--json', 'print a JSON object')
    .action(async (argv: string[], flags: InitFlags) => {
      if (flags.cache !== undefined) return keepReady(argv, flags);
      if (flags.endpoint !== undefined || flags.template !== undefined)
        throw new VmError('INVALID_ARGUMENT', '--endpoint and --template go with --cache');
      const settled = await settle(flags);
      const cache = kataCache(settled);
      if (cache !== undefined) return keepReady(argv, { ...flags, ...cache }, settled);
      if (flags.quiet !== true) tellSettings(settled.settings, true);
      const { Vm } = await import('../../sandbox/vm.ts');
      await interruptible(async ({ signal }) => {
        const progress = openProgress({ stream: process.stderr, quiet: flags.quiet === true });
        const template = await Vm.template({
          name: kataTemplateName(settled),
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

/** Serves a cache until somebody asks it to quit, or it is interrupted. */
async function keepReady(argv: readonly string[], flags: InitFlags, ofKata?: SettledOptions): Promise<void> {
  const { cache = 0, endpoint, name, place } = flags;
  if (argv.length > 0 || name !== undefined || place !== undefined)
    throw new VmError('INVALID_ARGUMENT', 'a name, a place and a command are for a template, not for a cache');
  const settled = ofKata ?? (await settle(flags));
  if (flags.quiet !== true) tellSettings(settled.settings, ofKata !== undefined);
  const { openCacheServer } = await import('../../sandbox/serve-cache.ts');
  await interruptible(async ({ signal }) => {
    const how = { signal, timeoutMs: flags.timeout, onEvent: () => undefined };
    const template = ofKata === undefined ? flags.template : await kataTemplate(ofKata, how);
    const options = { ...settled.options, template, cache, endpoint: endpoint && path.resolve(endpoint) };
    const server = await openCacheServer(options).catch(settled.explain);
    try {
      await server.filled({ signal, timeoutMs: flags.timeout });
      if (flags.json === true) printJson({ endpoint: server.endpoint, pid: process.pid, cache });
      else print(server.endpoint);
      const interrupted = new Promise<void>((resolve) =>
        signal.addEventListener('abort', () => resolve(), { once: true }),
      );
      await Promise.race([server.asked, interrupted]);
    } finally {
      await server.close();
    }
  });
}

function status(): Command {
  return newCommand('status', 'Lists the templates of this user, and the VMs that a cache server keeps ready.', [
    'factory status',
    'factory status --json',
  ])
    .summary('list templates and VMs that stand ready')
    .option('-q, --quiet', 'names of templates only')
    .option('--endpoint <socket>', 'where the cache server listens (default: in the runtime folder)')
    .option('--json', 'print a JSON object')
    .action(async (flags: { quiet?: boolean; endpoint?: string; json?: boolean }) => {
      const { listTemplates } = await import('../../sandbox/template.ts');
      const templates = await listTemplates();
      if (flags.quiet === true) return templates.forEach(({ name }) => print(name));
      const cache = await cacheStatus(flags.endpoint);
      if (flags.json === true) {
        const shown = templates.map(({ problem, ...it }) => ({ ...it, problem: problem?.rawMessage }));
        return printJson({ templates: shown, cache });
      }
      print(listing(templates));
      if (cache !== undefined) {
        print(`VM cache server pid = ${cache.pid}`);
        for (const { pid, cpu, memory } of cache.vmstatus) print(`VM pid = ${pid} Cpu = ${cpu} Memory = ${memory}MiB`);
      }
      for (const { name, problem } of templates)
        if (problem !== undefined) process.stderr.write(`polyvisor: ${name}: ${problem.rawMessage}\n`);
    });
}

/** What a cache server keeps; undefined when nobody has named one and there is none. */
async function cacheStatus(endpoint: string | undefined): Promise<GrpcStatus | undefined> {
  const { cacheEndpoint, places } = await import('../../state/paths.ts');
  const socket = endpoint === undefined ? cacheEndpoint(places()) : path.resolve(endpoint);
  // gRPC takes a tenth of a second to load.
  if (endpoint === undefined && !existsSync(socket)) return undefined;
  const { CacheClient } = await import('../../factory/cache-client.ts');
  try {
    return await new CacheClient(socket).status();
  } catch (error) {
    if (endpoint === undefined && VmError.from(error).code === 'NOT_FOUND') return undefined;
    throw error;
  }
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
    .option('--cache', 'no template: end the cache server, and remove the VMs that it keeps')
    .option('--endpoint <socket>', 'where that listens (default: in the runtime folder)')
    .option('--json', 'print a JSON array of what was removed')
    .action(async (names: string[], flags: DestroyFlags) => {
      if (flags.cache === true) return endCache(names, flags);
      const { listTemplates, removeTemplate } = await import('../../sandbox/template.ts');
      if (flags.all === true && names.length > 0)
        throw new VmError('INVALID_ARGUMENT', '--all is for all templates; it goes with no name');
      const all = flags.all === true ? (await listTemplates()).map(({ name }) => name) : undefined;
      await forEachName(all ?? (names.length > 0 ? names : ['default']), removeTemplate, flags);
    });
}

async function endCache(names: readonly string[], { all, endpoint, json }: DestroyFlags): Promise<void> {
  if (names.length > 0 || all === true)
    throw new VmError('INVALID_ARGUMENT', '--cache goes with neither names nor --all');
  const { cacheEndpoint, places } = await import('../../state/paths.ts');
  const { CacheClient } = await import('../../factory/cache-client.ts');
  const socket = endpoint === undefined ? cacheEndpoint(places()) : path.resolve(endpoint);
  await new CacheClient(socket).quit();
  if (json === true) printJson([socket]);
  else print(socket);
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
