import { verifyAssetHashes } from '../config/asset-hash.ts';
import { assetFields, type AssetType } from '../config/asset-type.ts';
import { addCustomAsset } from '../config/assets.ts';
import type { FieldUse } from '../config/field-use.ts';
import { type HostFacts, readHostFacts } from '../config/host.ts';
import type { Origins } from '../config/origin.ts';
import { parseConfig } from '../config/parse.ts';
import { show } from '../config/show.ts';
import type { ConfigField, VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { annotationValue } from './annotation-values.ts';
import { annotatedAssets, annotatedFields, hashNames, pathLists } from './annotation-names.ts';
import { fieldsOf, unusedNote } from './fields-of.ts';
import { hypervisorKeyNotes } from './keys-hypervisor.ts';
import type { KataOptions } from './load.ts';
import { matchesOne } from './path-pattern.ts';
import { type KataReportEntry, reportLine } from './report.ts';

/** What annotations of Kata's made of the options. */
export interface AnnotatedOptions {
  /** for Vm.create */
  readonly options: KataOptions;
  /** of the options that annotations set */
  readonly origins: Origins;
  /** one entry for each annotation */
  readonly report: readonly KataReportEntry[];
}

/** What {@link applyAnnotations} can be told. */
export interface AnnotationOptions {
  /** what has no meaning or is not supported is an error; default false */
  readonly strict?: boolean | undefined;
  /** the host whose CPUs limit the vCPUs; default: this one */
  readonly host?: HostFacts | undefined;
  /** what the VMM does with the fields; default: what its driver says */
  readonly fields?: FieldUse | undefined;
  readonly signal?: AbortSignal | undefined;
}

const KATA = 'io.katacontainers.';
const PREFIX = 'io.katacontainers.config.hypervisor.';
const HASH_TYPE = 'io.katacontainers.asset_hash_type';

/**
 * Applies a pod's annotations to options, as Kata does: those of the hypervisor only when their short name matches one of
 * `enableAnnotations`, paths only when they match their list and exist, files only when their SHA-512 is the one announced.
 * Nothing is applied when one of them is refused.
 * @throws {VmError} INVALID_CONFIG for an annotation that is not enabled, or whose value is wrong; FILE_INVALID for another
 * SHA-512; FILE_NOT_FOUND, FILE_UNREADABLE; ABORTED
 */
export async function applyAnnotations(
  options: KataOptions,
  annotations: Readonly<Record<string, string>>,
  { strict = false, host, fields, signal }: AnnotationOptions = {},
): Promise<AnnotatedOptions> {
  const given = Object.entries(annotations);
  for (const [name, value] of given) checkText(name, value);
  for (const [name] of given) checkEnabled(options, name);
  const use = fields ?? (await fieldsOf(options.hypervisor));
  const applying = new Applying(options, use, host ?? (await readHostFacts()));
  const report: KataReportEntry[] = [];
  for (const [name, value] of given) report.push({ key: name, ...(await applying.apply(name, value, annotations)) });
  if (strict) refuse(report);
  await verifyAssetHashes(applying.options, signal);
  return { options: applying.options, origins: applying.origins, report };
}

function checkText(name: string, value: unknown): void {
  if (typeof value !== 'string') throw wrong(name, `its value is ${show(value)}, allowed is text`);
}

function checkEnabled({ enableAnnotations = [] }: VmConfigInput, name: string): void {
  if (!name.startsWith(PREFIX)) return;
  const short = name.slice(PREFIX.length);
  if (enableAnnotations.some((pattern) => regularExpression(pattern).test(short))) return;
  throw wrong(name, `annotation ${name} is not enabled`, 'Have its short name match one of `enableAnnotations`.');
}

function regularExpression(pattern: string): RegExp {
  try {
    return new RegExp(pattern, 'u');
  } catch (cause) {
    throw new VmError('INVALID_CONFIG', `enableAnnotations: ${show(pattern)} is no regular expression`, {
      field: 'enableAnnotations',
      cause,
    });
  }
}

function wrong(name: string, message: string, advice = 'Correct the annotation, or leave it out.'): VmError {
  const text = message.includes(name) ? message : `annotation ${name}: ${message}`;
  return new VmError('INVALID_CONFIG', text, { field: `annotations.${name}`, advice });
}

function refuse(report: readonly KataReportEntry[]): void {
  const refused = report.filter(({ outcome }) => outcome === 'no-meaning' || outcome === 'unsupported');
  if (refused.length === 0) return;
  throw new VmError('INVALID_CONFIG', refused.map(reportLine).join('\n'), { field: `annotations.${refused[0]?.key}` });
}

type Outcome = Pick<KataReportEntry, 'outcome' | 'field' | 'reason'>;

/** Options on which annotations are applied one by one. */
class Applying {
  readonly #fields: FieldUse;
  readonly #host: HostFacts;
  readonly origins = new Map<string, { kind: 'annotation'; name: string }>();
  options: KataOptions;

  constructor(options: KataOptions, fields: FieldUse, host: HostFacts) {
    this.options = options;
    this.#fields = fields;
    this.#host = host;
  }

  async apply(name: string, text: string, all: Readonly<Record<string, string>>): Promise<Outcome> {
    if (name === HASH_TYPE) {
      if (text === 'sha512') return { outcome: 'taken' };
      throw wrong(name, `Invalid hash type ${show(text)}: only sha512 is known`);
    }
    if (!name.startsWith(PREFIX)) {
      const reason = name.startsWith(KATA) ? 'it is not about the hypervisor' : 'no prefix of Kata is on it';
      return { outcome: 'no-meaning', reason };
    }
    const short = name.slice(PREFIX.length);
    const asset = annotatedAssets.get(short);
    if (asset !== undefined) return this.#asset(name, asset, text, all);
    const hashed = hashNames.get(short);
    if (hashed !== undefined) return this.#hash(name, hashed, text, all);
    const field = annotatedFields.get(short);
    if (field !== undefined) return this.#field(name, field, text);
    const note = hypervisorKeyNotes.get(short);
    if (note !== undefined) return { outcome: note.outcome, reason: note.reason };
    return { outcome: 'unsupported', reason: 'Kata has no annotation of this name' };
  }

  async #checkPath(name: string, field: ConfigField, value: string): Promise<void> {
    const rule = pathLists[field];
    if (rule === undefined) return;
    const patterns = (this.options[rule.list] as readonly string[] | undefined) ?? [];
    if (rule.optional === true && patterns.length === 0) return;
    if (await matchesOne(patterns, value)) return;
    throw wrong(
      name,
      `${rule.what} ${show(value)} required from annotation is not valid`,
      `Have it match one of \`${rule.list}\`.`,
    );
  }

  async #asset(name: string, type: AssetType, path: string, all: Readonly<Record<string, string>>): Promise<Outcome> {
    const field = assetFields[type];
    await this.#checkPath(name, field, path);
    const unused = unusedNote(this.#fields, field);
    if (unused !== undefined) return unused;
    if (path === '') return { outcome: 'taken', reason: 'empty: nothing changes' };
    const hash = [...hashNames].find(([, it]) => it === type)?.[0];
    const sha512 = hash === undefined ? undefined : all[`${PREFIX}${hash}`];
    this.#setAsset(name, type, path, sha512);
    return { outcome: 'taken', field: `customAssets.${type}` };
  }

  /** A hash without a path is that of the file that is configured. */
  #hash(name: string, type: AssetType, sha512: string, all: Readonly<Record<string, string>>): Outcome {
    const unused = unusedNote(this.#fields, assetFields[type]);
    if (unused !== undefined) return unused;
    if (sha512 === '') return { outcome: 'taken', reason: 'empty: nothing is compared' };
    const annotated = [...annotatedAssets].some(([short, it]) => it === type && all[`${PREFIX}${short}`]);
    const configured = this.options.customAssets?.[type]?.path ?? this.options[assetFields[type]];
    if (!annotated) {
      if (configured === undefined) throw wrong(name, 'there is no file that it could be the hash of');
      this.#setAsset(name, type, configured, sha512);
    }
    return { outcome: 'taken', field: `customAssets.${type}` };
  }

  #setAsset(name: string, type: AssetType, path: string, sha512: string | undefined): void {
    try {
      const asset = { path, ...(sha512 === undefined || sha512 === '' ? {} : { sha512 }) };
      this.options = addCustomAsset(this.options, type, asset);
    } catch (error) {
      throw wrong(name, VmError.from(error).rawMessage);
    }
    this.origins.set('customAssets', { kind: 'annotation', name });
  }

  async #field(name: string, field: ConfigField, text: string): Promise<Outcome> {
    if (pathLists[field] !== undefined) await this.#checkPath(name, field, text);
    const mostVcpus = this.#fields.maxVcpus ?? Number.POSITIVE_INFINITY;
    const facts = { name: name.slice(PREFIX.length), before: this.options, host: this.#host, mostVcpus };
    const { value, problem } = annotationValue(field, text, facts);
    if (problem !== undefined) throw wrong(name, problem);
    const unused = unusedNote(this.#fields, field);
    if (unused !== undefined) return unused;
    if (value === undefined) return { outcome: 'taken', reason: 'empty or 0: nothing changes' };
    try {
      parseConfig({ [field]: value });
    } catch (error) {
      throw wrong(name, VmError.from(error).rawMessage);
    }
    this.options = { ...this.options, [field]: value };
    this.origins.set(field, { kind: 'annotation', name });
    return { outcome: 'taken', field };
  }
}
