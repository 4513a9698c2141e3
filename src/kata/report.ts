/**
 * What became of a key: taken; without a meaning for this VMM, or for a VM at all; not supported; or not used because a drop-in file,
 * read later, says otherwise.
 */
export type KataOutcome = 'taken' | 'no-meaning' | 'unsupported' | 'overridden';

/** What became of one key of one file, or of one annotation. */
export interface KataReportEntry {
  /** `hypervisor.qemu.default_vcpus`, or the name of the annotation */
  readonly key: string;
  /** absent for an annotation */
  readonly file?: string;
  /** from 1; absent for an annotation */
  readonly line?: number;
  readonly outcome: KataOutcome;
  /** the option that it became; absent when the value asks for what is so anyway */
  readonly field?: string;
  /** why it was not taken, or how the value was changed */
  readonly reason?: string;
}

/** Something that does not stop an import, but would stop a VM from starting. */
export interface KataWarning {
  readonly file: string;
  readonly line: number;
  /** begins with file and line */
  readonly message: string;
}

/** Why a key that there is no option for has none. */
export interface KeyNote {
  readonly outcome: 'no-meaning' | 'unsupported';
  readonly reason: string;
  /** whether only Kata 1.x, or only today's Kata, has the key: tells which of them a file is for */
  readonly only?: KataVersion;
}

/** Kata 1.x, or the Kata of today (2.0 and later): they differ in keys and defaults. */
export type KataVersion = '1.x' | 'today';

/** An entry in words, as one line. */
export function reportLine({ key, file, line, outcome, field, reason }: KataReportEntry): string {
  const where = file === undefined ? '' : `${file}:${line}: `;
  const words = { taken: 'taken', 'no-meaning': 'no meaning', unsupported: 'not supported', overridden: 'overridden' };
  const became = field === undefined ? '' : ` as ${field}`;
  return `${where}${key}: ${words[outcome]}${became}${reason === undefined ? '' : ` (${reason})`}`;
}
