import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('the fixture stands around every test and every file, and the last line of a run counts what it finds', () => {
  const { NODE_ENV: _, VITEST: __, ...env } = process.env;
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/support/wiring/vitest.config.ts'];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    env: { ...env, NO_COLOR: '1', POLYVISOR_FAILED_BEFORE: '' },
    encoding: 'utf8',
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/leaves what it may not\nError: .*\n  file left behind: .*\/left\n/);
  expect(stderr).toMatch(/leaky-file\.test\.ts[^]*process left behind: \d+ sleep 5/);
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('4 passed, 2 failed');
}, 60_000);
