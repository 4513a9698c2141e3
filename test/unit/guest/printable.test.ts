import fc from 'fast-check';
import { expect, test } from 'vitest';
import { printable } from '../../../src/guest/printable.ts';

test('control characters and marks that turn the text around are stripped', () => {
  expect(printable('a\u001b[31mred\r\nb\u0007\u202Eevil\u009b')).toBe('a [31mred b evil');
});

test('the result is one line within its limit, whatever comes in', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 600 }), fc.integer({ min: 1, max: 300 }), (text, limit) => {
      const line = printable(text, limit);
      expect(line.length).toBeLessThanOrEqual(limit);
      // oxlint-disable-next-line no-control-regex
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
    }),
  );
});
