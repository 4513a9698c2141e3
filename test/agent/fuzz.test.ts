import { execFile } from 'node:child_process';
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
