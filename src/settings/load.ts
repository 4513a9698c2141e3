import { stat } from 'node:fs/promises';
import path from 'node:path';
import { fileError } from '../config/file-error.ts';
import { parseHypervisorType } from '../config/hypervisor-type.ts';
import { laterOrigins, type Origin, type Origins } from '../config/origin.ts';
import { VmError } from '../errors.ts';
import type { AnnotatedOptions } from '../kata/annotations.ts';
import type { KataFactory } from '../kata/factory.ts';
import { isKataSection } from '../kata/keys-sections.ts';
import type { KataOptions } from '../kata/load.ts';
import type { KataReportEntry } from '../kata/report.ts';
import { readToml, type TomlDocument } from '../toml/document.ts';
import { environmentSettings } from './environment.ts';
import { type FileSettings, readOwn } from './own-file.ts';
import { existingPlaces, ownPlaces } from './places.ts';

/** What {@link loadSettings} can be told. */
export interface SettingsOptions {
  /** a file of ours or of Kata's, instead of those that are looked for; relative to `folder` */
  readonly file?: string | undefined;
  /** the VMM that is asked for: which section of Kata's file counts */
  readonly hypervisor?: string | undefined;
  /** annotations of Kata's */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** what of Kata's file and annotations is not taken is an error; default false */
  readonly strict?: boolean | undefined;
  /** where the project's file is looked for; default: the current folder */
  readonly folder?: string | undefined;
  /** default: that of this process */
  readonly env?: NodeJS.ProcessEnv | undefined;
}

/** Options of Vm.create from files, annotations and the environment. */
export interface Settings {
  readonly options: Partial<KataOptions>;
  /** where each option comes from; those that are not there have their defaults */
  readonly origins: Origins;
  /** the files that were read, in their order */
  readonly files: readonly string[];
  /** what became of the keys of Kata's file, and of annotations */
  readonly report: readonly KataReportEntry[];
  /** what would keep a VM from starting */
  readonly warnings: readonly string[];
  /** the factory of Kata's file */
  readonly factory?: KataFactory;
}

interface Loaded extends FileSettings {
  readonly files: readonly string[];
  readonly report?: readonly KataReportEntry[];
  readonly warnings?: readonly string[];
  readonly factory?: KataFactory;
}

/**
 * The options that are configured outside the program: `polyvisor.toml` in /etc/polyvisor, in the user's configuration folder and in the
 * project (or the one file that is named, ours or Kata's), then annotations, then the environment; the later one wins.
 * @throws {VmError} INVALID_CONFIG with file and line; FILE_*; UNKNOWN_HYPERVISOR
 */
export async function loadSettings(asked: SettingsOptions = {}): Promise<Settings> {
  const { env = process.env, annotations = {}, strict } = asked;
  const environment = environmentSettings(env);
  const folder = asked.folder ?? process.cwd();
  const files = asked.file === undefined ? await foundFiles(env, folder) : await namedFile(asked, folder, environment);
  const wanted = asked.hypervisor ?? environment.options['hypervisor'];
  const hypervisor = parseHypervisorType(wanted ?? files.options['hypervisor'] ?? 'qemu');
  const before = { ...files.options, hypervisor } as KataOptions;
  const annotated =
    Object.keys(annotations).length === 0
      ? { options: files.options, origins: new Map<string, Origin>(), report: [] }
      : await withAnnotations(before, annotations, strict);
  return {
    options: { ...annotated.options, ...environment.options },
    origins: new Map([...laterOrigins(files.origins, annotated.origins), ...environment.origins]),
    files: files.files,
    report: [...(files.report ?? []), ...annotated.report],
    warnings: files.warnings ?? [],
    ...(files.factory === undefined ? {} : { factory: files.factory }),
  };
}

// What reads Kata's part is loaded only for it: most commands start without.
async function withAnnotations(
  before: KataOptions,
  annotations: Readonly<Record<string, string>>,
  strict: boolean | undefined,
): Promise<AnnotatedOptions> {
  const { applyAnnotations } = await import('../kata/annotations.ts');
  return applyAnnotations(before, annotations, { strict });
}

async function foundFiles(env: NodeJS.ProcessEnv, folder: string): Promise<Loaded> {
  const places = await existingPlaces(ownPlaces(env, folder));
  let options: Readonly<Record<string, unknown>> = {};
  const origins = new Map<string, Origin>();
  for (const { file, of } of places) {
    if (of === 'project') await refuseStrangers(file);
    const read = readOwn(await readToml(file), of === 'project');
    options = { ...options, ...read.options };
    for (const [name, origin] of read.origins) origins.set(name, origin);
  }
  return { options, origins, files: places.map(({ file }) => file) };
}

/** A folder above may be everybody's, such as /tmp. */
async function refuseStrangers(file: string): Promise<void> {
  const { uid } = await stat(file).catch((cause: unknown) => {
    throw fileError(cause, 'configuration file', file);
  });
  const self = process.geteuid?.() ?? 0;
  if (uid === self || uid === 0) return;
  throw new VmError('PERMISSION', `${file} belongs to another user (${uid})`, {
    path: file,
    advice: 'Name it with --config if it is to count, or work in another folder.',
  });
}

async function namedFile(asked: SettingsOptions, folder: string, environment: FileSettings): Promise<Loaded> {
  const file = path.resolve(folder, asked.file ?? '');
  const document = await readToml(file);
  if (!isKatas(document)) return { ...readOwn(document, false), files: [file] };
  const named = asked.hypervisor ?? environment.options['hypervisor'];
  const hypervisor = typeof named === 'string' ? named : undefined;
  const { loadKataConfig } = await import('../kata/load.ts');
  const kata = await loadKataConfig(file, { hypervisor, strict: asked.strict });
  const warnings = kata.warnings.map(({ message }) => message);
  const { options, origins, factory, report } = kata;
  return { options, origins, factory, report, warnings, files: [kata.file, ...kata.dropIns] };
}

/** Kata's files have sections that ours don't. */
function isKatas({ tables, entries }: TomlDocument): boolean {
  return [...tables, ...entries].some(({ path: [section = ''] }) => isKataSection(section));
}

/** An error of Vm.create about an option, with the file and the line that set it. */
export function withOrigin(error: unknown, origins: Origins): unknown {
  if (!(error instanceof VmError)) return error;
  const origin = origins.get(error.facts.field?.split(/[.[]/)[0] ?? '');
  if (origin?.kind !== 'file') return error;
  const { file, line } = origin;
  if (error.rawMessage.startsWith(`${file}:`)) return error;
  return new VmError(error.code, `${file}:${line}: ${error.rawMessage}`, { ...error.facts, line, cause: error });
}
