import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import { mock } from '../../src/hypervisors/mock/index.ts';
import { until, processesNaming } from '../fakes/child.ts';
import { hollowable } from './hollow/hollow.ts';

it('an operation that succeeds and does nothing turns the contract suite red, whichever it is', async () => {
  const home = mkdtempSync('/tmp/pv-hollow-');
  try {
    const { NODE_ENV: _, VITEST: __, ...env } = process.env;
    const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/contract/hollow/vitest.config.ts'];
    const { stdout, stderr } = spawnSync(process.execPath, args, {
      env: { ...env, POLYVISOR_HOME: home },
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    // What a hollow operation left running, such as a VM that was detached and then not killed.
    for (const pid of processesNaming(home).keys()) process.kill(pid, 'SIGKILL');
    await until('no process is left', () => processesNaming(home).size === 0);
    const groups = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { name: string; red: boolean }[];
    expect(
      groups.map(({ name }) => name),
      stderr,
    ).toEqual(hollowable(mock));
    expect(groups.filter(({ red }) => !red).map(({ name }) => name)).toEqual([]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}, 180_000);
