import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { printable, tail } from '../../../src/transports/log-tail.ts';

describe('printable', () => {
  test.each([
    ['\u001b[31mred\u001b[0m', 'red'],
    ['\u001b[2J\u001b[1;1Hhome', 'home'],
    ['\u001b]0;title\u0007after', 'after'],
    ['\u001b]8;;http://x\u001b\\link', 'link'],
    ['\u001bPq#0\u001b\\six', 'six'],
    ['a\u0000b\u0008c\u007fd\u009be', 'abcde'],
    ['one\r\ntwo\rthree\tfour\n', 'one\ntwo\nthree\tfour\n'],
    ['a\u202eb\u2066c\u200bd', 'abcd'],
    ['grüße 日本', 'grüße 日本'],
    ['end\u001b', 'end'],
  ])('%j', (text, expected) => {
    expect(printable(text)).toBe(expected);
  });

  test('leaves nothing that steers a terminal, whatever comes', () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom('\u001b', '[', ']', 'P', ';', '0', 'm', '\u0007', '\\', '\r', '\u009b', 'é', ' '),
        }),
        (text) => {
          expect(printable(text)).not.toMatch(/(?!\n|\t)\p{Cc}/u);
        },
      ),
    );
  });
});

describe('tail', () => {
  let folder = '';
  const file = (): string => path.join(folder, 'console.log');
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-tail-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  test('answers the last lines, without blank ones', async () => {
    writeFileSync(file(), 'one\r\n\r\n  \ntwo\u001b[0m\nthree');
    expect(await tail(file())).toBe('one\ntwo\nthree');
    expect(await tail(file(), { lines: 2 })).toBe('two\nthree');
  });

  test('is bounded in bytes, and drops the line that was cut', async () => {
    writeFileSync(file(), `${'x'.repeat(100_000)}\nlast but one\nlast\n`);
    expect(await tail(file(), { bytes: 30 })).toBe('last but one\nlast');
    writeFileSync(file(), 'y'.repeat(100_000));
    expect(await tail(file(), { bytes: 10 })).toBe('yyyyyyyyyy');
  });

  test('is empty for what is not there or is no file, and follows no link', async () => {
    expect(await tail(file())).toBe('');
    expect(await tail(folder)).toBe('');
    execFileSync('mkfifo', [file()]);
    expect(await tail(file())).toBe('');
    symlinkSync('/etc/passwd', path.join(folder, 'link'));
    expect(await tail(path.join(folder, 'link'))).toBe('');
  });
});
