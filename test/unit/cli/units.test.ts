import { expect, it } from 'vitest';
import { age, duration, mebibytes } from '../../../src/cli/units.ts';

it('tells an age with its largest unit', () => {
  const now = Date.parse('2030-01-10T00:00:00Z');
  const of = (seconds: number): string => age(new Date(now - seconds * 1000).toISOString(), now);
  expect([0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(of)).toEqual([
    '0s',
    '59s',
    '1m',
    '59m',
    '1h',
    '23h',
    '1d',
    '2d',
  ]);
});

it('tells no age of what has no date, and none below zero', () => {
  expect(age('')).toBe('');
  expect(age('2030-01-01T00:00:10Z', Date.parse('2030-01-01T00:00:00Z'))).toBe('0s');
});

it('tells durations and sizes', () => {
  expect([7.4, 999, 1000, 2940, 75_000].map(duration)).toEqual(['7 ms', '999 ms', '1.0 s', '2.9 s', '75 s']);
  expect(mebibytes(1_572_864)).toBe('1.5 MiB');
});
