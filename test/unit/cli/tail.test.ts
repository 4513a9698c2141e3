import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readTail } from '../../../src/cli/tail.ts';

let file: string;
beforeEach(() => {
  file = path.join(mkdtempSync(path.join(tmpdir(), 'tail-')), 'log');
});
afterEach(() => rmSync(path.dirname(file), { recursive: true }));

async function tail(content: string, lines: number | undefined): Promise<string> {
  writeFileSync(file, content);
  return text(await readTail(file, lines));
}

it('gives the last lines, whether or not the last one is complete', async () => {
  expect(await tail('a\nb\nc\n', 2)).toBe('b\nc\n');
  expect(await tail('a\nb\nc', 2)).toBe('b\nc');
  expect(await tail('a\n\n\n', 2)).toBe('\n\n');
});

it('gives all when there are fewer, or no number is given', async () => {
  expect(await tail('a\nb\n', 9)).toBe('a\nb\n');
  expect(await tail('a\nb\n', undefined)).toBe('a\nb\n');
});

it('gives nothing for no lines, an empty log, and one that is not there', async () => {
  expect(await tail('a\nb\n', 0)).toBe('');
  expect(await tail('', 5)).toBe('');
  rmSync(file);
  expect(await text(await readTail(file, 5))).toBe('');
});

it('finds lines that begin many blocks before the end', async () => {
  const long = `${'x'.repeat(200_000)}\n`;
  expect(await tail(`first\n${long}${long}`, 2)).toBe(long + long);
  expect(await tail(`first\n${long}${long}`, 3)).toBe(`first\n${long}${long}`);
});

it('says that a log cannot be read', async () => {
  writeFileSync(file, '');
  await expect(readTail(path.join(file, 'below'), undefined)).rejects.toThrow(/^IO: cannot read the log: ENOTDIR/);
});
