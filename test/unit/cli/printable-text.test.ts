import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { printableText } from '../../../src/cli/printable-text.ts';

const shown = (...pieces: Buffer[]): Promise<string> => text(Readable.from(pieces).pipe(printableText()));

it('takes out what could play on a terminal, and nothing else', async () => {
  const log = Buffer.from('\u001B[31mred\u001B[0m\ta\r\nüber €\u0007\u009B31m\u001B]0;title\u0007\u001Bc\u001B(B!\n');
  expect(await shown(log)).toBe('red\ta\nüber €31m!\n');
});

it('keeps a character that is split between two pieces, and drops a sequence that is', async () => {
  const euro = Buffer.from('€');
  expect(await shown(euro.subarray(0, 1), euro.subarray(1))).toBe('€');
  expect(await shown(Buffer.from('a\u001B'), Buffer.from('[3'), Buffer.from('1mb'))).toBe('ab');
});

it('holds nothing back for ever: a sequence without an end is shown without its escape', async () => {
  const endless = `\u001B]${'x'.repeat(300)}`;
  expect(await shown(Buffer.from(endless), Buffer.from('y'))).toBe(`]${'x'.repeat(300)}y`);
  expect(await shown(Buffer.from('a\u001B[3'))).toBe('a[3');
});
