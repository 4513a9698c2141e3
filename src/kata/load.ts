import type { FieldUse } from '../config/field-use.ts';
import { type HostFacts, readHostFacts } from '../config/host.ts';
import type { HypervisorType } from '../config/hypervisor-type.ts';
import type { Origins } from '../config/origin.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { checkAcrossKeys } from './checks.ts';
import { chooseSection } from './choose.ts';
import type { KataFactory } from './factory.ts';
import { fieldsOf } from './fields-of.ts';
import { Import } from './import.ts';
import { readMerged } from './merged.ts';
import { lookAtFiles, wouldNotStart } from './preview.ts';
import { type KataReportEntry, type KataWarning, reportLine } from './report.ts';
import { kataVersion } from './version.ts';

/** Options of Vm.create that came from Kata. */
export type KataOptions = VmConfigInput & { readonly hypervisor: HypervisorType };

/** What {@link loadKataConfig} can be told. */
export interface KataLoadOptions {
  /** which section `[hypervisor.X]` counts; needed when the file has several */
  readonly hypervisor?: string | undefined;
  /** what has no meaning or is not supported is an error; default false */
  readonly strict?: boolean | undefined;
  /** reads the files of the folder `config.d` beside the file, too; default true */
  readonly dropIns?: boolean | undefined;
  /** the host to clamp to; default: this one */
  readonly host?: HostFacts | undefined;
  /** what the VMM does with the fields; default: what its driver says */
  readonly fields?: FieldUse | undefined;
}

/** A configuration file of Kata, as polyvisor has it. */
export interface KataConfig {
  /** the file, its links followed */
  readonly file: string;
  /** the drop-in files that were read after it */
  readonly dropIns: readonly string[];
  /** for Vm.create */
  readonly options: KataOptions;
  /** where each of the options comes from */
  readonly origins: Origins;
  readonly factory: KataFactory;
  /** one entry for each key of each file, in their order */
  readonly report: readonly KataReportEntry[];
  /** what would keep a VM from starting, such as a file that isn't there */
  readonly warnings: readonly KataWarning[];
}

/** Most problems that one error tells. */
const MOST_PROBLEMS_TOLD = 20;

/**
 * Reads a configuration file of Kata Containers, 1.x or today's, with its drop-in files. Values are checked, clamped and
 * defaulted as Kata does; every key is accounted for in the report. Files that the configuration names need not be there.
 * @throws {VmError} FILE_* when a file can't be read; INVALID_CONFIG, with file and line, for what Kata would refuse, and with
 * `strict` for each key that is not taken; UNKNOWN_HYPERVISOR when the file is for another VMM
 */
export async function loadKataConfig(file: string, options: KataLoadOptions = {}): Promise<KataConfig> {
  const { hypervisor, strict = false, dropIns = true } = options;
  const files = await readMerged(file, dropIns);
  const section = chooseSection(files, hypervisor);
  const host = options.host ?? (await readHostFacts());
  const fields = options.fields ?? (await fieldsOf(section.type));
  const version = kataVersion(files);
  const made = new Import({ section, fields, host, version });
  for (const entry of files.entries) made.take(entry);
  for (const { entry, by } of files.overridden) made.override(entry, by);
  checkAcrossKeys(made);
  made.finish();
  const warnings = await lookAtFiles(made);
  refuse(made.problems.map(({ message }) => message));
  if (strict) refuse(made.report.filter(isRefused).map(reportLine));
  return {
    file: files.file,
    dropIns: files.dropIns,
    options: made.options as KataOptions,
    origins: made.origins,
    factory: made.factory,
    report: made.report,
    warnings: [...warnings, ...wouldNotStart(made)],
  };

  function refuse(messages: readonly string[]): void {
    if (messages.length === 0) return;
    const told = messages.slice(0, MOST_PROBLEMS_TOLD);
    if (messages.length > told.length) told.push(`and ${messages.length - told.length} more`);
    const { place } = made.problems[0] ?? {};
    const first = made.report.find(isRefused);
    throw new VmError('INVALID_CONFIG', told.join('\n'), {
      path: place?.file ?? first?.file ?? files.file,
      line: place?.line ?? first?.line,
      field: made.problems[0]?.key ?? first?.key,
    });
  }
}

function isRefused({ outcome }: KataReportEntry): boolean {
  return outcome === 'no-meaning' || outcome === 'unsupported';
}
