import type { KataReportEntry } from '../kata/report.ts';
import type { VmOptions } from '../sandbox/vm-options.ts';
import { laterOrigins, type Origin, type Origins } from '../config/origin.ts';
import type { Settings } from '../settings/load.ts';
import { VmError } from '../errors.ts';
import type { DeviceFlags } from './device-flags.ts';
import { type VmFlags, vmOptions } from './vm-flags.ts';

/** Options of a VM from files, annotations, the environment and the command line. */
export interface SettledOptions {
  readonly options: VmOptions;
  readonly origins: Origins;
  readonly settings: Settings;
  /** Throws the error of a call with these options; one about an option that a file set names the file. */
  readonly explain: (error: unknown) => never;
}

/** Names of flags whose option is called otherwise. */
const flagNames: Readonly<Record<string, string>> = {
  memoryMiB: '--memory',
  vcpus: '--cpus',
  kernelParams: '--append',
  startTimeoutMs: '--start-timeout',
};

/** What a command's options say, with what is configured elsewhere: the command line wins. `strict` is for Kata's files. */
export async function settle(flags: VmFlags & DeviceFlags): Promise<SettledOptions> {
  const { loadSettings, withOrigin } = await import('../settings/load.ts');
  const settings = await loadSettings({
    file: flags.config,
    hypervisor: flags.hypervisor,
    annotations: annotationsOf(flags.annotation ?? []),
    strict: flags.strict,
  });
  const given = Object.fromEntries(Object.entries(vmOptions(flags)).filter(([, value]) => value !== undefined));
  const params = [...(settings.options.kernelParams ?? []), ...((given as VmOptions).kernelParams ?? [])];
  const options = { ...settings.options, ...given, ...(params.length === 0 ? {} : { kernelParams: params }) };
  const fromFlags = Object.keys(given).map((name): [string, Origin] => [name, { kind: 'flag', name: flagName(name) }]);
  const origins = laterOrigins(settings.origins, new Map(fromFlags));
  const explain = (error: unknown): never => {
    throw withOrigin(error, origins);
  };
  return { options, origins, settings, explain };
}

/**
 * Says on stderr what of Kata's file and of annotations does not count, and what would keep a VM from starting.
 * @param usesFactory whether the command makes VMs of the file's template, or takes them of its cache
 */
export function tellSettings({ report, warnings, factory, files }: Settings, usesFactory = false): void {
  const lines = [...warnings];
  const counts = countsText(report);
  if (counts !== undefined) lines.push(`${counts}; \`polyvisor config import ${files[0] ?? 'FILE'}\` says which`);
  if (factory?.template === true && !usesFactory)
    lines.push('the template of this file is not asked: only `run` clones VMs of it');
  if ((factory?.cacheNumber ?? 0) > 0 && !usesFactory)
    lines.push("this file's cache of VMs is not asked: only `run` takes VMs of it");
  for (const line of lines) process.stderr.write(`polyvisor: ${line}\n`);
}

function countsText(report: readonly KataReportEntry[]): string | undefined {
  const count = (outcome: KataReportEntry['outcome']): number => report.filter((it) => it.outcome === outcome).length;
  const [none, unsupported] = [count('no-meaning'), count('unsupported')];
  if (none + unsupported === 0) return undefined;
  return `${count('taken')} keys are taken, ${none} have no meaning, ${unsupported} are not supported`;
}

function flagName(option: string): string {
  return flagNames[option] ?? `--${option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function annotationsOf(words: readonly string[]): Record<string, string> {
  const pairs = words.map((word) => {
    const at = word.indexOf('=');
    if (at > 0) return [word.slice(0, at), word.slice(at + 1)] as const;
    throw new VmError('INVALID_ARGUMENT', `${JSON.stringify(word)} is no annotation: write NAME=VALUE`);
  });
  return Object.fromEntries(pairs);
}
