import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_DURATION_MS, parseDurationMs, parseSizeMiB } from '../../../src/config/units.ts';
import { VmError } from '../../../src/errors.ts';
import { errorOf } from './fixture.ts';

describe('sizes', () => {
  test.each([
    ['512', 512],
    ['512M', 512],
    ['512m', 512],
    ['512MB', 512],
    ['512MiB', 512],
    ['2G', 2048],
    ['1.5g', 1536],
    ['1T', 1_048_576],
    ['1048576k', 1024],
    ['1073741824b', 1024],
    [' 64M ', 64],
    ['0', 0],
  ])('%s is %d MiB', (text, mib) => {
    expect(parseSizeMiB(text)).toBe(mib);
  });

  test.each([
    '',
    'M',
    '-1',
    '1e3',
    '0x10',
    '512MM',
    '512 M',
    '1.M',
    '1,5G',
    '512ib',
    'NaN',
    'Infinity',
    '9'.repeat(30),
  ])('%j is no size', (text) => {
    const error = errorOf(() => parseSizeMiB(text));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain('is not a size: write for example 512M');
  });

  test.each(['512k', '1b', '0.5', '1.0001g'])('%s is no whole number of MiB', (text) => {
    expect(errorOf(() => parseSizeMiB(text)).message).toContain('is not a whole number of MiB');
  });
});

describe('durations', () => {
  test.each([
    ['500ms', 500],
    ['5s', 5000],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['10', 10_000],
    ['0', 0],
    ['2147483647ms', MAX_DURATION_MS],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  test.each(['', 's', '-1s', '5S', '5 s', '1h30m', '1d', '1e3', 'NaN'])('%j is no duration', (text) => {
    const error = errorOf(() => parseDurationMs(text));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain('is not a duration: write for example 500ms');
  });

  test.each(['2147483648ms', '25000h', '9999999999s'])('%s is too long for a timer', (text) => {
    expect(errorOf(() => parseDurationMs(text)).message).toContain('is too long');
  });
});

test('any text gives a whole number or INVALID_ARGUMENT', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{0,12}[a-zA-Z]{0,3}$/)), (text) => {
      for (const parse of [parseSizeMiB, parseDurationMs]) expect(outcome(parse, text)).toBe('as promised');
    }),
  );
});

function outcome(parse: (text: string) => number, text: string): string {
  try {
    const value = parse(text);
    return Number.isSafeInteger(value) && value >= 0 ? 'as promised' : String(value);
  } catch (error) {
    return error instanceof VmError && error.code === 'INVALID_ARGUMENT' ? 'as promised' : String(error);
  }
}
