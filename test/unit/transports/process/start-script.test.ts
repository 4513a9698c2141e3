import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startScript } from '../../../../src/transports/process/start-script.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-start-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const shells = [['dash'], ['bash', '--posix'], ['busybox', 'sh']];

/** What a program sees that is started by the script. */
function seen([shell = '', ...words]: readonly string[], script: string): string {
  writeFileSync(path.join(folder, 'start'), script);
  return execFileSync(shell, [...words, '-c', '. ./start; (become_program)'], { cwd: folder, encoding: 'utf8' });
}

test('whatever is in its words, a program gets them as they are', () => {
  const word = fc.string({ unit: 'binary', maxLength: 40 }).map((text) => text.toWellFormed().replaceAll('\0', ''));
  const special = fc.constantFrom("'", "''", '$(id)', '`id`', '\\', '\n', '\n\n', "'; id; '", '*', '', '-n', '#', '!');
  fc.assert(
    fc.property(fc.array(fc.oneof(word, special), { maxLength: 6 }), fc.constantFrom(...shells), (all, shell) => {
      const script = startScript({ argv: ['/usr/bin/printf', '%s\\0', ...all], env: { A: all[0] ?? '' } });
      expect(seen(shell, script).split('\0').slice(0, -1)).toEqual(all.length === 0 ? [''] : all);
    }),
    { numRuns: 150 },
  );
});

test.each(shells)('%s: what stands in front runs what follows, after what is to be done first', (...shell) => {
  const script = startScript({
    argv: ['/bin/echo', 'c'],
    through: ['/usr/bin/nice', '-n', '0'],
    preparation: [
      ['/bin/echo', 'a'],
      ['/bin/echo', 'b'],
    ],
  });
  expect(seen(shell, script)).toBe('a\nb\nc\n');
});

test.each(shells)('%s: nothing is started when something fails before', (...shell) => {
  expect(() => seen(shell, startScript({ argv: ['/bin/echo', 'c'], preparation: [['/bin/false']] }))).toThrow(/failed/);
  expect(() => seen(shell, startScript({ argv: ['/bin/echo', 'c'], cwd: '/nowhere/at/all' }))).toThrow(/nowhere/);
});

test('what no shell can start is refused', () => {
  expect(() => startScript({ argv: ['a\0b'] })).toThrow(/zero byte/);
  expect(() => startScript({ argv: ['a', 'x'.repeat(131_072)] })).toThrow(/131072 bytes/);
  for (const name of ['', '1A', 'A B', 'A.B', '-u', 'A=', 'UID', 'OPTIND']) {
    expect(() => startScript({ argv: ['a'], env: { [name]: '' } })).toThrow(/environment variable/);
  }
});
