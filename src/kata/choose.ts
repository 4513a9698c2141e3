import { findHypervisorType, type HypervisorType, parseHypervisorType } from '../config/hypervisor-type.ts';
import { VmError } from '../errors.ts';
import { placeText, type Place } from '../toml/place.ts';
import type { MergedFiles } from './merged.ts';

/** The section of the file that is for the VMM that was chosen. */
export interface ChosenSection {
  readonly type: HypervisorType;
  /** its name: the second of `[hypervisor.X]` */
  readonly name: string;
  readonly place: Place;
}

/**
 * Which of the sections `[hypervisor.X]` counts: that of the VMM that is asked for; else the only one; else the one that
 * `hypervisor_name` in `[runtime]` names.
 * @throws {VmError} UNKNOWN_HYPERVISOR when the file is for other VMMs, INVALID_CONFIG when it is for none or for several
 */
export function chooseSection(files: MergedFiles, asked: string | undefined): ChosenSection {
  const sections = sectionsOf(files);
  const known = [...sections].filter(([name]) => findHypervisorType(name) !== undefined);
  const named = runtimeName(files);
  const wanted = asked === undefined ? undefined : parseHypervisorType(asked);
  const fitting =
    wanted === undefined
      ? known.filter(([name]) => known.length === 1 || name === named)
      : known.filter(([name]) => findHypervisorType(name) === wanted);
  const [chosen, ...more] = fitting;
  const type = chosen === undefined ? undefined : findHypervisorType(chosen[0]);
  if (chosen !== undefined && type !== undefined && more.length === 0) {
    return { type, name: chosen[0], place: chosen[1] };
  }
  throw noSection(files, sections, wanted);
}

function noSection(files: MergedFiles, sections: ReadonlyMap<string, Place>, wanted: string | undefined): VmError {
  const names = [...sections.keys()].map((name) => `[hypervisor.${name}]`).join(', ');
  const first = [...sections.values()][0] ?? { file: files.file, line: 1, column: 1 };
  const facts = { path: first.file, line: first.line, field: 'hypervisor' };
  const where = placeText(first);
  if (sections.size === 0) return new VmError('INVALID_CONFIG', `${where}: there is no section [hypervisor.X]`, facts);
  if (wanted !== undefined) {
    return new VmError('INVALID_CONFIG', `${where}: there is no section for ${wanted}, only ${names}`, {
      ...facts,
      advice: 'Name another hypervisor, or another file.',
    });
  }
  if ([...sections.keys()].some((name) => findHypervisorType(name) !== undefined)) {
    return new VmError('INVALID_CONFIG', `${where}: there are several sections: ${names}`, {
      ...facts,
      advice: 'Say which one counts with `hypervisor`.',
    });
  }
  return new VmError('UNKNOWN_HYPERVISOR', `${where}: ${names} is for no VMM that polyvisor knows`, facts);
}

function sectionsOf({ tables, entries }: MergedFiles): Map<string, Place> {
  const found = new Map<string, Place>();
  for (const { path, place } of [...tables, ...entries]) {
    const [section, name] = path;
    if (section === 'hypervisor' && name !== undefined && !found.has(name)) found.set(name, place);
  }
  return found;
}

function runtimeName({ entries }: MergedFiles): string | undefined {
  const entry = entries.find(({ path }) => path.length === 2 && path[0] === 'runtime' && path[1] === 'hypervisor_name');
  return entry?.value.kind === 'string' ? entry.value.value : undefined;
}
