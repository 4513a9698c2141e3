import { InvalidArgumentError } from 'commander';
import { parseDurationMs, parseSizeMiB } from '../config/units.ts';
import { VmError } from '../errors.ts';

/** A size in MiB. */
export function memoryMiB(text: string): number {
  return orUsageError(() => parseSizeMiB(text));
}

/** A time in ms, above 0. */
export function timeMs(text: string): number {
  const ms = orUsageError(() => parseDurationMs(text));
  if (ms > 0) return ms;
  throw new InvalidArgumentError('It must be above 0.');
}

/** A count. */
export function wholeNumber(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number.');
}

/** For options that may be given more than once. */
export function collect(value: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), value];
}

function orUsageError<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof VmError) throw new InvalidArgumentError(`${error.rawMessage}.`);
    throw error;
  }
}
