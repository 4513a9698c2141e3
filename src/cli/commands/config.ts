import type { Command } from 'commander';
import { originText } from '../../config/origin.ts';
import type { KataConfig } from '../../kata/load.ts';
import { newCommand } from '../command.ts';
import { print, printJson } from '../output.ts';
import { table } from '../table.ts';
import { addVmFlags, type VmFlags } from '../vm-flags.ts';
import { settle, tellSettings } from '../vm-settings.ts';

interface ImportFlags {
  hypervisor?: string;
  strict?: boolean;
  json?: boolean;
}

/** `polyvisor config` */
export function config(): Command {
  return newCommand('config', 'Shows where the configuration comes from, and reads that of Kata Containers.', [
    'config show',
    'config import /etc/kata-containers/configuration.toml > polyvisor.toml',
    'config schema > polyvisor.schema.json',
  ])
    .addCommand(importKata())
    .addCommand(show())
    .addCommand(schema());
}

function importKata(): Command {
  return newCommand('import', "Prints Kata's configuration file as one of ours, and what became of each of its keys.", [
    'config import configuration.toml',
    'config import --hypervisor clh --strict configuration.toml',
  ])
    .summary("print Kata's configuration as ours")
    .argument('<file>', "Kata's configuration.toml; the files of the folder config.d beside it are read, too")
    .option('--hypervisor <type>', 'which section counts, when the file has several')
    .option('--strict', 'what has no meaning here, or is not supported, is an error')
    .option('--json', 'print a JSON object')
    .action(async (file: string, flags: ImportFlags) => {
      const { loadKataConfig } = await import('../../kata/load.ts');
      const loaded = await loadKataConfig(file, { hypervisor: flags.hypervisor, strict: flags.strict });
      if (flags.json === true) {
        const { origins, ...data } = loaded;
        return printJson({ ...data, origins: Object.fromEntries(origins) });
      }
      print(await importedText(loaded));
      for (const { message } of loaded.warnings) process.stderr.write(`polyvisor: ${message}\n`);
    });
}

/** A file of ours, with where each option comes from and, at its end, what was not taken. */
async function importedText({ file, dropIns, options, origins, report, factory }: KataConfig): Promise<string> {
  const { tomlComment, tomlText } = await import('../../settings/toml-text.ts');
  const { reportLine } = await import('../../kata/report.ts');
  const lines = Object.entries(options).map(([name, value]) => {
    const origin = origins.get(name);
    const key = origin?.kind === 'file' ? ` ${origin.key}` : '';
    return { name, value, ...(origin === undefined ? {} : { comment: `${originText(origin)}${key}` }) };
  });
  const kept = report.filter(({ field }) => field?.startsWith('factory.') === true).length;
  const left = report.filter(({ outcome }) => outcome !== 'taken').map(reportLine);
  const parts = [tomlComment(['From', file, ...dropIns].join(' ')), tomlText(lines)];
  if (kept > 0) parts.push(tomlComment(`The factory: ${JSON.stringify(factory)}`));
  if (left.length > 0) parts.push(tomlComment(['Not taken:', ...left].join('\n')));
  return parts.join('\n\n');
}

function show(): Command {
  const command = newCommand(
    'show',
    'Prints the configuration that `run` would use, and where each value comes from.',
    ['config show', 'config show --config configuration.toml --cpus 2 --json'],
  ).summary('print the configuration, with where it comes from');
  return addVmFlags(command)
    .option('--json', 'print a JSON object')
    .action(async (flags: VmFlags & { json?: boolean }) => {
      const settled = await settle(flags);
      const { effectiveOptions } = await import('../../settings/effective.ts');
      const { name: _, ...options } = settled.options;
      const all = await effectiveOptions({ ...options }, settled.origins).catch(settled.explain);
      tellSettings(settled.settings, true);
      if (flags.json === true) {
        const { files, report, warnings } = settled.settings;
        return printJson({ files, options: all, report, warnings });
      }
      const rows = all.map((it) => [it.name, JSON.stringify(it.value), originText(it.origin)]);
      print(table(['OPTION', 'VALUE', 'FROM'], rows));
    });
}

function schema(): Command {
  return newCommand('schema', 'Prints the JSON Schema of polyvisor.toml, with which editors complete and check it.', [
    'config schema > polyvisor.schema.json',
  ])
    .summary('print the JSON Schema of polyvisor.toml')
    .option('--json', 'as always')
    .action(async () => {
      const { fileSchema } = await import('../../settings/json-schema.ts');
      printJson(fileSchema());
    });
}
