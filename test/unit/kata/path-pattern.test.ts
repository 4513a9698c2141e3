import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { matchesOne, matchesPattern } from '../../../src/kata/path-pattern.ts';
import { temporaryFolder } from './fixture.ts';

it.each([
  ['/usr/bin/qemu', '/usr/bin/qemu', true],
  ['/usr/bin/qemu*', '/usr/bin/qemu-system-x86_64', true],
  ['/usr/*/qemu', '/usr/bin/qemu', true],
  ['/usr/*', '/usr/bin/qemu', false],
  ['/usr/**', '/usr/bin/qemu', false],
  ['/usr/bin/?emu', '/usr/bin/qemu', true],
  ['/usr/bin/[p-r]emu', '/usr/bin/qemu', true],
  ['/usr/bin/[^q]emu', '/usr/bin/qemu', false],
  ['/usr/bin/\\*', '/usr/bin/*', true],
  ['/usr/bin/\\*', '/usr/bin/qemu', false],
  ['/usr/bin/[', '/usr/bin/[', false],
  ['/usr/bin/q.mu', '/usr/bin/qemu', false],
  ['', '', true],
])('%s %s', (pattern, text, matches) => {
  expect(matchesPattern(pattern, text)).toBe(matches);
});

it('takes no time that grows with the pattern', () => {
  expect(matchesPattern(`${'*a'.repeat(60)}b`, 'a'.repeat(200))).toBe(false);
});

it('is about files that are there, by their plain names', async () => {
  const folder = temporaryFolder();
  mkdirSync(path.join(folder, 'a'));
  writeFileSync(path.join(folder, 'a/x'), '');
  expect(await matchesOne([`${folder}/*/x`], `${folder}/a/x`)).toBe(true);
  expect(await matchesOne([`${folder}/*/x`], `${folder}/b/x`)).toBe(false);
  expect(await matchesOne([`${folder}/*/*/a/x`], `${folder}/a/../a/x`)).toBe(false);
  expect(await matchesOne([`${folder}/a/*`], `${folder}/a/.`)).toBe(false);
  expect(await matchesOne([], `${folder}/a/x`)).toBe(false);
});
