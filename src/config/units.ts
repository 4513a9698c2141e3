import { VmError } from '../errors.ts';
import { show } from './show.ts';

const BYTES_PER_MIB = 1024 * 1024;
const bytesPer: Readonly<Record<string, number>> = {
  b: 1,
  k: 1024,
  m: BYTES_PER_MIB,
  g: 1024 * BYTES_PER_MIB,
  t: 1024 * 1024 * BYTES_PER_MIB,
};

/** Longest time-out in ms: timers of Node.js fire at once beyond it. */
export const MAX_DURATION_MS = 2_147_483_647;
const msPer: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Parses a size of memory into MiB: `512M`, `2G`, `1.5g`, `1048576k`, `2GiB`. Units are powers of 1024, in either case.
 * A bare number means MiB (where docker means bytes), since nobody wants a VM of 512 bytes.
 * @throws {VmError} INVALID_ARGUMENT when the text is no size or no whole number of MiB
 */
export function parseSizeMiB(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)(?:(b)|([kmgt])(?:i?b)?)?$/i.exec(text.trim());
  const unit = (match?.[2] ?? match?.[3] ?? 'm').toLowerCase();
  const mib = (Number(match?.[1] ?? Number.NaN) * (bytesPer[unit] ?? Number.NaN)) / BYTES_PER_MIB;
  if (Number.isSafeInteger(mib)) return mib;
  const problem = Number.isNaN(mib) ? 'is not a size' : 'is not a whole number of MiB';
  throw new VmError('INVALID_ARGUMENT', `${show(text)} ${problem}: write for example 512M or 2G`, {
    advice: 'Sizes end in k, M, G or T; a bare number means MiB.',
  });
}

/**
 * Parses a duration into ms: `500ms`, `5s`, `1.5s`, `2m`, `1h`. A bare number means seconds, as for timeout(1).
 * @throws {VmError} INVALID_ARGUMENT when the text is no duration, or is longer than {@link MAX_DURATION_MS}
 */
export function parseDurationMs(text: string): number {
  const match = /^(\d{1,10}(?:\.\d{1,6})?)(ms|s|m|h)?$/.exec(text.trim());
  const ms = Math.round(Number(match?.[1] ?? Number.NaN) * (msPer[match?.[2] ?? 's'] ?? Number.NaN));
  if (ms <= MAX_DURATION_MS) return ms;
  const problem = Number.isNaN(ms) ? 'is not a duration' : 'is too long (at most 24 days)';
  throw new VmError('INVALID_ARGUMENT', `${show(text)} ${problem}: write for example 500ms, 5s, 2m or 1h`, {
    advice: 'Durations end in ms, s, m or h; a bare number means seconds.',
  });
}
