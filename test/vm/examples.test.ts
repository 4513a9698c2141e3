import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';

const folder = new URL('../../examples/', import.meta.url).pathname;

/** What each example prints: it imports the package by its name, so it is the built one that runs. */
const expected: Readonly<Record<string, { args: string[]; prints: RegExp }>> = {
  'quick-start.js': {
    args: [],
    prints: /^the guest is Linux x86_64 \(exit code 0\)\nstdout: line 1\n(stdout: )?line 2\n(stdout: )?line 3\n$/,
  },
  'untrusted-code.js': {
    args: [],
    prints: new RegExp(
      [
        String.raw`a friendly one: exit code 0, "2 \+ 2 = 4\\nuser\\n"`,
        'one that never ends: its time was over',
        'one that eats all memory: it ran out of its memory',
        'one that writes for ever: it wrote too much',
        String.raw`one that reads what it may not: exit code \d+, ".*[Pp]ermission denied.*"`,
      ].join('\n'),
    ),
  },
  'ci-job.js': {
    args: [folder],
    prints:
      /total\nstep count: ok\nstep pack: ok\nstep check: ok\nresults in .*: lines\.txt, sources\.tar\.gz, strangers\.txt\n$/,
  },
  'web-server.js': { args: [], prints: /^200 hello from vm-[0-9a-f]+\n$/ },
  'any-hypervisor.js': {
    args: ['mock'],
    prints: /^a command ran on Linux\npause and resume: done\nafterwards: still here\n$/,
  },
  'many-vms.js': {
    args: ['2'],
    prints: /(worker-\d+-\d: \d+ ms of CPU time[^]*){2}job 0 done by worker[^]*job 3 done by worker/,
  },
};

it('there are no others', () => {
  expect(
    readdirSync(folder)
      .filter((name) => name.endsWith('.js'))
      .toSorted(),
  ).toEqual(Object.keys(expected).toSorted());
});

it.each(Object.entries(expected))('%s does what it says', (name, { args, prints }) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(folder, name), ...args], {
    cwd: tmpdir(),
    encoding: 'utf8',
    timeout: 120_000,
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(prints);
  expect(readFileSync(path.join(folder, name), 'utf8')).toContain(`node examples/${name}`);
});
