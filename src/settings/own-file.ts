import path from 'node:path';
import { allowedValues } from '../config/describe-type.ts';
import { deserializeParams } from '../config/kernel-params.ts';
import type { Origin } from '../config/origin.ts';
import { parseConfig } from '../config/parse.ts';
import { suggest } from '../config/suggest.ts';
import { VmError } from '../errors.ts';
import type { TomlDocument, TomlEntry } from '../toml/document.ts';
import { wrongAt } from '../toml/place.ts';
import { plain, put, showToml } from '../toml/values.ts';
import { type FileOption, fileOptions, heldOptions, hostPrograms, programAssets } from './own-options.ts';

/** Options that a file sets, and where. */
export interface FileSettings {
  readonly options: Readonly<Record<string, unknown>>;
  readonly origins: ReadonlyMap<string, Origin>;
}

/** The section of polyvisor's own files. */
export const OWN_SECTION = 'vm';

/**
 * Reads a file of our own: the section `[vm]`, with the options of Vm.create. Relative paths are from the file's folder; parameters
 * may be texts such as `key=value`.
 * @param fromProject whether the file came with a project, and so may not name programs of the host
 * @throws {VmError} INVALID_CONFIG with file and line
 */
export function readOwn(document: TomlDocument, fromProject: boolean): FileSettings {
  const options: Record<string, unknown> = {};
  const origins = new Map<string, Origin>();
  for (const entry of document.entries) {
    const option = optionOf(entry);
    if (fromProject) refusePrograms(entry, option);
    const [, name = '', ...rest] = entry.path;
    put(options, [name, ...rest], adapted(entry, option));
    const { file, line } = entry.place;
    origins.set(name, { kind: 'file', file, line, key: entry.path.join('.') });
  }
  for (const entry of document.entries) check(entry, options);
  return { options, origins };
}

function optionOf(entry: TomlEntry): FileOption {
  const [section = '', name, ...rest] = entry.path;
  const shown = entry.path.join('.');
  if (section !== OWN_SECTION || name === undefined) {
    throw wrongAt(entry.place, `${shown} is in no section that polyvisor knows: there is only [${OWN_SECTION}]`);
  }
  const option = fileOptions.find((it) => it.name === name);
  const names = fileOptions.map((it) => it.name);
  if (option === undefined) {
    const near = suggest(name, names);
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    throw wrongAt(entry.place, `${shown} is no option${hint}`, { field: name });
  }
  if (rest.length > 0 && option.type.kind !== 'assets') {
    throw wrongAt(entry.place, `${name} is a table, allowed is ${allowedValues(option)}`, { field: name });
  }
  return option;
}

function refusePrograms({ path: [, , asset = ''], place }: TomlEntry, { name }: FileOption): void {
  if (!hostPrograms.has(name) && !(name === 'customAssets' && programAssets.has(asset))) return;
  throw wrongAt(place, `${name} may not be set by the file of a project: it is about programs of this host`, {
    field: name,
    advice: 'Put it into your own file, ~/.config/polyvisor/polyvisor.toml, or name this file with --config.',
  });
}

/** What is written more shortly in a file than in a program. */
function adapted({ value, place, path: names }: TomlEntry, { name, type }: FileOption): unknown {
  const given = plain(value);
  const folder = path.dirname(place.file);
  const absolute = (it: unknown): unknown => (typeof it === 'string' && it !== '' ? path.resolve(folder, it) : it);
  if (type.kind === 'params' && Array.isArray(given))
    return given.flatMap((it: unknown) => (typeof it === 'string' ? deserializeParams([it]) : [it]));
  if (type.kind === 'assets') return names.at(-1) === 'path' ? absolute(given) : given;
  // The folder of the hooks is one in the guest.
  if (type.kind === 'path' && name !== 'guestHookPath') return absolute(given);
  if (type.kind === 'list' && type.of.kind === 'path' && Array.isArray(given)) return given.map(absolute);
  return given;
}

function check(entry: TomlEntry, options: Readonly<Record<string, unknown>>): void {
  const [, name = ''] = entry.path;
  const held = heldOptions.find((it) => it.name === name);
  if (held !== undefined) return checkHeld(entry, held, options[name]);
  try {
    parseConfig({ [name]: options[name] });
  } catch (error) {
    throw wrongAt(entry.place, VmError.from(error).rawMessage, { field: name });
  }
}

function checkHeld(entry: TomlEntry, option: FileOption, value: unknown): void {
  const { type, name } = option;
  const fits =
    type.kind === 'choice'
      ? type.values.some((it) => it === value)
      : type.kind === 'integer'
        ? Number.isSafeInteger(value) && Number(value) >= type.min && Number(value) <= type.max
        : typeof value === 'string' && value.startsWith('/');
  if (fits) return;
  throw wrongAt(entry.place, `${name} is ${showToml(entry.value)}, allowed is ${allowedValues(option)}`, {
    field: name,
  });
}
