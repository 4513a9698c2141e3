import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bashCompletion } from '../../../src/cli/completion/bash.ts';
import { fishCompletion } from '../../../src/cli/completion/fish.ts';
import { type CompletedCommand, completionTree } from '../../../src/cli/completion/tree.ts';
import { zshCompletion } from '../../../src/cli/completion/zsh.ts';
import { loadProgram } from '../../../src/cli/program.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();
let program: CompletedCommand;
beforeAll(async () => {
  program = completionTree(await loadProgram('all'));
});
beforeEach(() => {
  // Stands in for the program where a shell asks for names.
  at.script(
    'polyvisor',
    'case "$*" in "ls -aq") echo web; echo web-2; echo db;; "image ls -q") echo 0f3a9c12ab34;; esac',
  );
  at.write('kernel.bin', '');
});

/** What a shell offers for the last word, in order of the alphabet. */
interface Shell {
  program: string;
  offers(words: readonly string[]): string[];
}

function run(shell: string, args: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync(shell, args, {
    cwd: at.folder,
    env: { PATH: `${at.folder}:${process.env['PATH']}`, HOME: at.folder, TERM: 'xterm' },
    encoding: 'utf8',
  });
  if (status !== 0 || stderr !== '') throw new Error(`${shell}: ${status} ${stderr}`);
  return stdout;
}

const bash: Shell = {
  program: 'bash',
  offers: (words) => {
    const script = at.write('completion', bashCompletion(program));
    // Outside of a completion `compopt` is an error: what it would be told is printed.
    const ask = `compopt() { files=$2; }; source ${script}
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); files=; _polyvisor
      printf '%s\\n' "\${COMPREPLY[@]}"; [[ -z $files ]] || compgen -f -- "\${!#}"`;
    return listed(run('bash', ['--norc', '-c', ask, 'bash', ...words]));
  },
};

const fish: Shell = {
  program: 'fish',
  offers: (words) => {
    const script = at.write('completion', fishCompletion(program));
    const line = words.join(' ').replaceAll("'", String.raw`\'`);
    return listed(run('fish', ['--no-config', '-c', `source ${script}; complete -C '${line}'`]));
  },
};

function listed(text: string): string[] {
  const words = text.split('\n').map((line) => line.split('\t')[0] ?? '');
  return [...new Set(words.filter((word) => word !== ''))].toSorted();
}

const there = (shell: string): boolean => spawnSync(shell, ['-c', 'exit 0']).status === 0;

// bash is everywhere; the others are tried where they are.
describe.each([bash, fish].filter((shell) => shell.program === 'bash' || there(shell.program)))(
  'in $program',
  ({ offers }) => {
    it.each([
      [['polyvisor', 'comp'], ['completion']],
      [
        ['polyvisor', 'image', ''],
        ['build', 'import', 'inspect', 'list', 'ls', 'prune', 'pull', 'rm', 'save'],
      ],
      [['polyvisor', 'run', '--acc'], ['--accel']],
      [
        ['polyvisor', 'run', '--accel', ''],
        ['auto', 'kvm', 'tcg'],
      ],
      [['polyvisor', 'run', '--accel', 't'], ['tcg']],
      [
        ['polyvisor', 'stop', ''],
        ['db', 'web', 'web-2'],
      ],
      [
        ['polyvisor', 'stop', '-t', '3s', 'w'],
        ['web', 'web-2'],
      ],
      [['polyvisor', 'rm', '-f', 'web', 'd'], ['db']],
      [['polyvisor', 'image', 'rm', ''], ['0f3a9c12ab34']],
      [
        ['polyvisor', 'logs', '--source', ''],
        ['agent', 'console', 'vmm'],
      ],
      [
        ['polyvisor', 'completion', ''],
        ['bash', 'fish', 'zsh'],
      ],
      [['polyvisor', 'help', 'ex'], ['exec']],
      [['polyvisor', 'ps', '--j'], ['--json']],
      [['polyvisor', 'run', '--name', ''], []],
      [['polyvisor', 'run', '--kernel', 'ker'], ['kernel.bin']],
    ])('%j', (words, expected) => {
      expect(offers(words)).toEqual(expected);
    });

    it('offers every command, and every option of each', () => {
      const every = program.commands.flatMap(({ names }) => names);
      expect(every.length).toBeGreaterThan(15);
      expect(offers(['polyvisor', ''])).toEqual(every.toSorted());
      const stop = program.commands.find(({ path: name }) => name === 'stop');
      const long = stop?.options.flatMap(({ flags }) => flags.filter((flag) => flag.startsWith('--'))) ?? [];
      expect(offers(['polyvisor', 'stop', '--']).filter((flag) => long.includes(flag))).toEqual(long.toSorted());
    });
  },
);

it('zsh can read its completion, which has a function for every command', () => {
  const text = zshCompletion(program);
  const functions = [...text.matchAll(/^(_polyvisor\w*)\(\) \{/gm)].map(([, name]) => name);
  expect(functions).toEqual(
    expect.arrayContaining(['_polyvisor', '_polyvisor_run', '_polyvisor_image_rm', '_polyvisor_vms']),
  );
  expect(new Set(functions).size).toBe(functions.length);
  if (!there('zsh')) return;
  const script = at.write('_polyvisor', text);
  run('zsh', ['-f', '-n', script]);
  // The completion system itself works in a terminal only: that the functions are known is what can be seen without one.
  const loaded = run('zsh', [
    '-f',
    '-c',
    `compdef() { print $1 $2 }; source ${script}; print $+functions[_polyvisor_image_rm]`,
  ]);
  expect(loaded).toBe('_polyvisor polyvisor\n1\n');
  expect(path.isAbsolute(script)).toBe(true);
});
