import { configFieldNames, configFields } from '../config/config-fields.ts';
import type { FieldUse } from '../config/field-use.ts';
import type { HostFacts } from '../config/host.ts';
import type { Origin } from '../config/origin.ts';
import { parseConfig } from '../config/parse.ts';
import { suggest } from '../config/suggest.ts';
import type { ConfigField } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import type { TomlEntry } from '../toml/document.ts';
import { type Place, placeText } from '../toml/place.ts';
import { showToml } from '../toml/values.ts';
import type { ChosenSection } from './choose.ts';
import { unusedNote } from './fields-of.ts';
import { defaultFactory, factoryValue, type KataFactory } from './factory.ts';
import { hypervisorKeyNotes } from './keys-hypervisor.ts';
import { isKataSection, sectionNote } from './keys-sections.ts';
import type { KataReportEntry, KataVersion } from './report.ts';
import { convert, wrongType } from './values.ts';

/** Config fields by Kata's key for them. */
export const fieldsByKey: ReadonlyMap<string, ConfigField> = new Map(
  configFieldNames.flatMap((name) => {
    const { tomlKey } = configFields[name];
    return tomlKey === undefined ? [] : [[tomlKey, name] as const];
  }),
);

/** Something that Kata would refuse, too. */
interface Problem {
  readonly place: Place;
  readonly key: string;
  /** begins with file and line */
  readonly message: string;
}

type Outcome = Pick<KataReportEntry, 'outcome' | 'field' | 'reason'>;

/** One import in the making: keys come in, options and a report come out. */
export class Import {
  readonly section: ChosenSection;
  readonly fields: FieldUse;
  readonly host: HostFacts;
  readonly version: KataVersion;
  readonly options: Partial<Record<ConfigField | 'hypervisor', unknown>>;
  readonly origins: Map<string, Origin> = new Map();
  readonly problems: Problem[] = [];
  readonly #report: { entry: TomlEntry; outcome: Outcome }[] = [];
  #factory: KataFactory = defaultFactory;

  constructor(facts: Pick<Import, 'section' | 'fields' | 'host' | 'version'>) {
    this.section = facts.section;
    this.fields = facts.fields;
    this.host = facts.host;
    this.version = facts.version;
    const { type, name, place } = facts.section;
    this.options = { hypervisor: type };
    this.origins.set('hypervisor', { kind: 'file', file: place.file, line: place.line, key: `hypervisor.${name}` });
  }

  get factory(): KataFactory {
    return this.#factory;
  }

  /** In the order of the files' lines. */
  get report(): readonly KataReportEntry[] {
    const files = [...new Set(this.#report.map(({ entry }) => entry.place.file))];
    return this.#report
      .toSorted((a, b) => {
        const byFile = files.indexOf(a.entry.place.file) - files.indexOf(b.entry.place.file);
        return byFile === 0 ? a.entry.place.line - b.entry.place.line : byFile;
      })
      .map(({ entry: { path, place }, outcome }) => ({
        key: path.join('.'),
        file: place.file,
        line: place.line,
        ...outcome,
      }));
  }

  /** The entry of a key of the section that counts. */
  entryOf(key: string): TomlEntry | undefined {
    const { name } = this.section;
    return this.#report.find(
      ({ entry: { path }, outcome }) =>
        outcome.outcome !== 'overridden' && path.length === 3 && path[1] === name && path[2] === key,
    )?.entry;
  }

  /** The entry that set an option. */
  entryFor(field: ConfigField): TomlEntry | undefined {
    const key = configFields[field].tomlKey;
    return key === undefined ? undefined : this.entryOf(key);
  }

  problem({ path, place }: Pick<TomlEntry, 'path' | 'place'>, message: string): void {
    const key = path.join('.');
    this.problems.push({ place, key, message: `${placeText(place)}: ${key}: ${message}` });
  }

  /** Sets an option that the file leaves out, if the VMM has a use for it. */
  setDefault(field: ConfigField, value: unknown): void {
    if (this.fields.unused[field] !== undefined || this.options[field] !== undefined) return;
    this.options[field] = value;
    this.origins.set(field, { kind: 'default', of: 'Kata' });
  }

  take(entry: TomlEntry): void {
    this.#report.push({ entry, outcome: this.#outcome(entry) });
  }

  override(entry: TomlEntry, by: TomlEntry): void {
    this.#report.push({ entry, outcome: { outcome: 'overridden', reason: `by ${placeText(by.place)}` } });
  }

  /** Takes an option back that was taken before. */
  giveUp(field: ConfigField, outcome: 'no-meaning' | 'unsupported', reason: string): void {
    delete this.options[field];
    this.origins.delete(field);
    for (const each of this.#report) {
      if (each.outcome.outcome === 'taken' && each.outcome.field === field) each.outcome = { outcome, reason };
    }
  }

  /** Checks what is left once all keys are in. */
  finish(): void {
    for (const pattern of (this.options.enableAnnotations as string[] | undefined) ?? []) {
      const entry = this.entryFor('enableAnnotations');
      if (entry !== undefined && !compiles(pattern)) this.problem(entry, `${pattern} is no regular expression`);
    }
  }

  #outcome(entry: TomlEntry): Outcome {
    const [section = '', name, ...rest] = entry.path;
    if (section === 'hypervisor' && name === this.section.name && rest.length > 0) return this.#own(entry, rest);
    if (section === 'hypervisor' && name !== undefined && rest.length > 0)
      return { outcome: 'no-meaning', reason: `the VM is one of ${this.section.type}` };
    if (section === 'factory' && name !== undefined && rest.length === 0) return this.#factoryKey(entry, name);
    const note = sectionNote(entry.path);
    if (note !== undefined) return { outcome: note.outcome, reason: note.reason };
    const reason = isKataSection(section) ? 'it is no key of this section' : 'Kata has no such section';
    return { outcome: 'unsupported', reason };
  }

  /** A key of the section that counts. */
  #own(entry: TomlEntry, [key = '', ...rest]: readonly string[]): Outcome {
    if (key === 'factory' && rest.length === 1) return this.#factoryKey(entry, rest[0] ?? '');
    const field = rest.length === 0 ? fieldsByKey.get(key) : undefined;
    if (field !== undefined) return this.#field(entry, field);
    if (key === 'enable_numa') return this.#numa(entry);
    const note = hypervisorKeyNotes.get(key);
    if (note !== undefined) return { outcome: note.outcome, reason: note.reason };
    const near = suggest(key, [...fieldsByKey.keys()]);
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    return { outcome: 'unsupported', reason: `polyvisor knows no such key${hint}` };
  }

  #field(entry: TomlEntry, field: ConfigField): Outcome {
    const wanted = wrongType(field, entry.value);
    if (wanted !== undefined) {
      this.problem(entry, `it is ${showToml(entry.value)}, allowed is ${wanted}`);
      return { outcome: 'unsupported', reason: 'its value is of the wrong type' };
    }
    const { value, note, unsupported, problem } = convert(field, entry.value, this);
    if (problem !== undefined) this.problem(entry, problem);
    const unused = unusedNote(this.fields, field);
    if (unused !== undefined) return unused;
    const why = unsupported ?? problem;
    if (why !== undefined) return { outcome: 'unsupported', reason: why };
    if (value !== undefined) this.#set(entry, field, value);
    return { outcome: 'taken', field, ...(note === undefined ? {} : { reason: note }) };
  }

  #set(entry: TomlEntry, field: ConfigField, value: unknown): void {
    try {
      parseConfig({ [field]: value });
    } catch (error) {
      this.problem(entry, VmError.from(error).rawMessage);
      return;
    }
    this.options[field] = value;
    const { file, line } = entry.place;
    this.origins.set(field, { kind: 'file', file, line, key: entry.path.join('.') });
  }

  /** Without the mapping it would be Kata that looks at the host's nodes. */
  #numa(entry: TomlEntry): Outcome {
    const { kind, value } = entry.value;
    if (kind === 'boolean')
      return value ? { outcome: 'taken', field: 'numaMapping' } : { outcome: 'taken', reason: 'it is off anyway' };
    this.problem(entry, `it is ${showToml(entry.value)}, allowed is true or false`);
    return { outcome: 'unsupported', reason: 'its value is of the wrong type' };
  }

  #factoryKey(entry: TomlEntry, key: string): Outcome {
    const read = factoryValue(key, entry);
    if (read === undefined) return { outcome: 'unsupported', reason: 'the factory has no such key' };
    const { name, value, allowed } = read;
    if (allowed !== undefined) this.problem(entry, `it is ${showToml(entry.value)}, allowed is ${allowed}`);
    else if (value !== undefined) this.#factory = { ...this.#factory, [name]: value };
    return { outcome: 'taken', field: `factory.${name}` };
  }
}

function compiles(pattern: string): boolean {
  try {
    return new RegExp(pattern, 'u') instanceof RegExp;
  } catch {
    return false;
  }
}
