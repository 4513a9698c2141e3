import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { guestEnvironment } from '../../../src/cli/environment.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'environment-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function file(content: string): string {
  const name = path.join(folder, 'variables');
  writeFileSync(name, content);
  return name;
}

it('sets what has a value and takes the rest from the host', () => {
  const host = { FOO: 'host', SECRET: 's' };
  expect({ ...guestEnvironment(['A=1', 'B=', 'C=x=y', 'FOO', 'MISSING'], [], host) }).toEqual({
    A: '1',
    B: '',
    C: 'x=y',
    FOO: 'host',
  });
});

it('reads files first, so that single words win', () => {
  const name = file('# comment\n\nA=file\r\n  B=indented\nQ="quoted"\nFOO\n');
  expect({ ...guestEnvironment(['A=word'], [name], { FOO: 'host' }) }).toEqual({
    A: 'word',
    B: 'indented',
    Q: '"quoted"',
    FOO: 'host',
  });
});

it('takes any name, even those that objects have', () => {
  expect(Object.entries(guestEnvironment(['__proto__=1', 'constructor=2'], [], {}))).toEqual([
    ['__proto__', '1'],
    ['constructor', '2'],
  ]);
});

it('refuses words without a name, naming the file', () => {
  expect(() => guestEnvironment(['=x'], [], {})).toThrow(/INVALID_ARGUMENT.*"=x"/);
  expect(() => guestEnvironment(['--'], [], {})).toThrow(/INVALID_ARGUMENT.*"--"/);
  const name = file('A B=1\n');
  expect(() => guestEnvironment([], [name], {})).toThrow(`${name}: "A B=1"`);
});

it('tells a missing file from one that cannot be read', () => {
  expect(() => guestEnvironment([], [path.join(folder, 'none')], {})).toThrow(/^FILE_NOT_FOUND/);
  expect(() => guestEnvironment([], [folder], {})).toThrow(/^FILE_UNREADABLE/);
});
