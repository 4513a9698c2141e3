import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensurePrivateFolder } from '../../../src/state/private-folder.ts';

let root = '';
const at = (name: string): string => path.join(root, name);
const mode = (name: string): number => statSync(at(name)).mode & 0o777;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'polyvisor-private-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test('makes it with those above, all 0700', async () => {
  await ensurePrivateFolder(at('a/b/c'));
  await ensurePrivateFolder(at('a/b/c'));
  expect([mode('a'), mode('a/b'), mode('a/b/c')]).toEqual([0o700, 0o700, 0o700]);
});

test('several at once all succeed', async () => {
  await Promise.all(Array.from({ length: 10 }, () => ensurePrivateFolder(at('x/y'))));
  expect(mode('x/y')).toBe(0o700);
});

test('closes one that was open to others', async () => {
  mkdirSync(at('open'));
  chmodSync(at('open'), 0o777);
  await ensurePrivateFolder(at('open'));
  expect(mode('open')).toBe(0o700);
});

test('refuses links, files and what belongs to others', async () => {
  mkdirSync(at('real'));
  symlinkSync(at('real'), at('link'));
  writeFileSync(at('file'), '');
  await expect(ensurePrivateFolder(at('link'))).rejects.toMatchObject({ code: 'PERMISSION' });
  await expect(ensurePrivateFolder(at('file'))).rejects.toMatchObject({ code: 'PERMISSION' });
  await expect(ensurePrivateFolder(at('file/below'))).rejects.toMatchObject({ code: 'IO' });
});

// Only root can give a folder away.
test.runIf(process.getuid?.() === 0)('refuses another user`s folder', async () => {
  mkdirSync(at('theirs'), { mode: 0o700 });
  chownSync(at('theirs'), 12345, 12345);
  await expect(ensurePrivateFolder(at('theirs'))).rejects.toMatchObject({ code: 'PERMISSION' });
});
