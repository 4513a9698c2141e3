import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { printableText } from '../../../src/cli/printable-text.ts';

it('takes out what could play on a terminal, and nothing else', async () => {
  const log = Buffer.from('\u001B[31mred\u001B[0m\ta\r\nüber €\u0007\u009B31m\n');
  expect(await text(Readable.from([log]).pipe(printableText()))).toBe('[31mred[0m\ta\nüber €31m\n');
});

it('keeps a character that is split between two pieces', async () => {
  const euro = Buffer.from('€');
  expect(await text(Readable.from([euro.subarray(0, 1), euro.subarray(1)]).pipe(printableText()))).toBe('€');
});
