import { expect, test } from 'vitest';
import { median, quantile, ratio } from '../../../scripts/bench/statistics.ts';

test('quantiles lie between the values of the sample', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(quantile([0, 10], 0.95)).toBeCloseTo(9.5);
  expect(() => median([])).toThrow(RangeError);
});

test('a ratio has an interval around it that narrows as pairs agree', () => {
  const agreeing = ratio(Array.from({ length: 15 }, (_, at) => [11 + at, 10 + at] as const));
  const scattered = ratio(Array.from({ length: 15 }, (_, at) => [10 + (at % 5) * 4, 10] as const));
  expect(agreeing.value).toBeGreaterThan(1);
  expect(agreeing.low).toBeLessThanOrEqual(agreeing.value);
  expect(agreeing.high).toBeGreaterThanOrEqual(agreeing.value);
  expect(scattered.high - scattered.low).toBeGreaterThan(agreeing.high - agreeing.low);
});

test('the same measurements give the same interval', () => {
  const pairs = Array.from({ length: 15 }, (_, at) => [10 + (at % 4), 10] as const);
  expect(ratio(pairs)).toEqual(ratio(pairs));
});

test('who comes second and is slower for it, by turns, is no slower', () => {
  const pairs = Array.from({ length: 16 }, (_, at) => (at % 2 === 0 ? ([10, 13] as const) : ([13, 10] as const)));
  expect(ratio(pairs)).toEqual({ value: 1, low: 1, high: 1 });
});
