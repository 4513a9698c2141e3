import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { buildSanitized, sanitizerEnvironment } from './sanitized-build.ts';

it('the parsers stand whatever comes', { timeout: 120_000 }, async () => {
  const program = await buildSanitized(path.join(import.meta.dirname, 'fuzz.c'));
  // Another seed each time, named in the output of a failure: `fuzz SEED MILLISECONDS` repeats it.
  const seed = String(Math.floor(Math.random() * 2 ** 32));
  const { stdout, stderr } = await promisify(execFile)(program, [seed, '2000'], { env: sanitizerEnvironment });
  const [, frames, prefaces, spawns] = /^(\d+) frames (\d+) prefaces (\d+) spawns/.exec(stdout) ?? [];
  expect(stderr).toBe(`seed ${seed}\n`);
  expect(Math.min(Number(frames), Number(prefaces), Number(spawns))).toBeGreaterThan(100);
});

it('archives of any kind are unpacked in their folder, or refused', { timeout: 120_000 }, async () => {
  const program = await buildSanitized(path.join(import.meta.dirname, 'fuzz-tar.c'));
  const seed = String(Math.floor(Math.random() * 2 ** 32));
  const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-fuzz-'));
  try {
    const { stdout, stderr } = await promisify(execFile)(program, [seed, '2000', folder], {
      env: sanitizerEnvironment,
    });
    const [, entries, files, errors] = /^(\d+) entries (\d+) files (\d+) errors/.exec(stdout) ?? [];
    expect(stderr).toBe(`seed ${seed}\n`);
    expect(Math.min(Number(entries), Number(files), Number(errors))).toBeGreaterThan(20);
    expect(readdirSync(folder)).toEqual(['in']);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
