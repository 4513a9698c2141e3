import { constants } from 'node:os';
import { expect, test } from 'vitest';
import { signalName, signalNumber } from '../../../src/guest/signals.ts';

test('numbers are those of Linux', () => {
  for (const [name, number] of Object.entries(constants.signals))
    expect([name, signalNumber(name)]).toEqual([name, number]);
});

test('names and numbers lead to each other', () => {
  for (let number = 1; number <= 31; number += 1) expect(signalNumber(signalName(number))).toBe(number);
  expect(signalName(34)).toBe('SIG34');
  expect(signalNumber(64)).toBe(64);
});

test.each(['KILL', 'SIG', '', 'sigkill', 'SIGtoString', 'toString', 0, 65, 1.5, Number.NaN])(
  '%j is no signal',
  (signal) => {
    expect(() => signalNumber(signal)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  },
);
