import { InvalidArgumentError } from 'commander';
import { parseDurationMs, parseSizeMiB } from '../config/units.ts';
import { VmError } from '../errors.ts';

/** A size in MiB. */
export function memoryMiB(text: string): number {
  return orUsageError(() => parseSizeMiB(text));
}

/** A size in bytes. */
export function byteCount(text: string): number {
  return memoryMiB(text) * 2 ** 20;
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

/** A number of CPUs, perhaps a part of one. */
export function cpuShare(text: string): number {
  if (/^\d{1,5}(\.\d{1,3})?$/.test(text) && Number(text) > 0) return Number(text);
  throw new InvalidArgumentError('It must be a number above 0, such as 0.5 or 2.');
}

/** A time that has passed: as long ago as the text says (`10m`), or the very moment, as ISO 8601 writes it. */
export function pastTime(text: string): Date {
  const moment = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Date.now() - msAgo(text);
  if (!Number.isNaN(moment)) return new Date(moment);
  throw new InvalidArgumentError('Write a time such as 2026-01-31T12:00:00Z, or 10m for ten minutes ago.');
}

function msAgo(text: string): number {
  try {
    return parseDurationMs(text);
  } catch {
    return Number.NaN;
  }
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
