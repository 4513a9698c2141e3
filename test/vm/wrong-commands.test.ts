import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scratch } from '../fakes/programs.ts';

const program = new URL('../../bin/polyvisor.js', import.meta.url).pathname;
const at = scratch();

function cli(
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): { status: number | null; lines: string[]; stdout: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--', program, ...words], {
    env: { ...process.env, NO_COLOR: '1', ...env },
    encoding: 'utf8',
    input: '',
  });
  return { status, stdout, lines: stderr.trimEnd().split('\n') };
}

beforeAll(() => {
  cli(['run', '-dq', '--hypervisor', 'mock', '--name', 'web']);
  cli(['create', '-q', '--hypervisor', 'mock', '--name', 'asleep']);
});
afterAll(() => {
  cli(['rm', '-f', 'web', 'asleep']);
});

/** What is typed, the exit code, what is said of it, and what to do. */
type Mistake = [words: string[], code: number, said: RegExp, advice: RegExp];

describe('a wrong command line exits with 2, says what is wrong and where to look', () => {
  it.each<Mistake>([
    [['rum'], 2, /^polyvisor: unknown command 'rum'$/, /Did you mean one of rm, run\?/],
    [['help', 'exce'], 2, /^polyvisor: unknown command 'exce'$/, /Did you mean exec\?/],
    [['image', 'delete'], 2, /unknown command 'delete'/, /image --help/],
    [['run', '--memry', '1G', '--', 'true'], 2, /unknown option '--memry'/, /Did you mean --memory\?/],
    [['run', '-m', '12x', '--', 'true'], 2, /"12x" is not a size: write for example 512M or 2G/, /run --help/],
    [['run', '-m', '-5', '--', 'true'], 2, /"-5" is not a size/, /run --help/],
    [['run', '--cpus', 'two', '--', 'true'], 2, /'two' is invalid\. It must be a whole number/, /run --help/],
    [['run', '--accel', 'fast', '--', 'true'], 2, /Allowed choices are auto, kvm, tcg/, /run --help/],
    [['run'], 2, /no command was given, and stdin is no terminal for a shell/, /run --help/],
    [['exec'], 2, /missing required argument 'name'/, /exec --help/],
    [['exec', 'web'], 2, /missing required argument 'command'/, /exec --help/],
    [['exec', '--timeout', '0', 'web', 'true'], 2, /It must be above 0/, /exec --help/],
    [
      ['exec', '--timeout', 'soon', 'web', 'true'],
      2,
      /"soon" is not a duration: write for example 500ms/,
      /exec --help/,
    ],
    [['logs', '--source', 'guest', 'web'], 2, /Allowed choices are console, vmm, agent/, /logs --help/],
    [['logs', '-n', 'few', 'web'], 2, /It must be a whole number/, /logs --help/],
    [['logs', '--since', 'yesterday', 'web'], 2, /Write a time such as .*, or 10m for ten minutes ago/, /logs --help/],
    [['console', '--detach-keys', 'esc', 'web'], 2, /Write keys such as ctrl-p,ctrl-q/, /console --help/],
    [['completion', 'tcsh'], 2, /Allowed choices are bash, zsh, fish/, /completion --help/],
    [['ls', 'web'], 2, /too many arguments/, /ls --help/],
  ])('%j', (words, code, said, advice) => {
    const { status, stdout, lines } = cli(words);
    expect({ status, stdout }).toEqual({ status: code, stdout: '' });
    expect(lines[0]).toMatch(said);
    expect(lines.slice(1).join(' ')).toMatch(advice);
    expect(lines.length).toBeLessThanOrEqual(3);
  });
});

describe('what cannot be done exits with its own code, and is said in one line, with advice in the next', () => {
  it.each<Mistake>([
    [['run', '-m', '1M', '--', 'true'], 125, /INVALID_CONFIG: memoryMiB is 1, allowed is .* at least 64/, /field/],
    [['run', '--cpus', '0', '--', 'true'], 125, /INVALID_CONFIG: vcpus is 0/, /field/],
    [['run', '--name', 'a b', '--', 'true'], 125, /INVALID_NAME: Invalid VM name "a b"/, /such as/],
    [
      ['run', '-q', '--hypervisor', 'mock', '--name', 'web', '--', 'true'],
      125,
      /NAME_IN_USE: there is a VM named web/,
      /another name/,
    ],
    [['run', '--hypervisor', 'qmeu', '--', 'true'], 125, /UNKNOWN_HYPERVISOR: .*qmeu/, /qemu/],
    [['run', '--kernel', '/nowhere', '--', 'true'], 125, /INVALID_CONFIG: .*initrd.* missing/, /`--initrd`/],
    [['run', '--kernel', '/nowhere', '--initrd', '/nowhere', '--', 'true'], 125, /FILE_NOT_FOUND: .*\/nowhere/, /path/],
    [['run', '--kernel', '/etc/passwd', '--initrd', '/etc', '--', 'true'], 125, /FILE_INVALID: .*\/etc/, /file/i],
    [['run', '--env-file', '/nowhere', '--', 'true'], 125, /FILE_NOT_FOUND: .*\/nowhere/, /path/],
    [['run', '-e', 'A B=1', '--', 'true'], 125, /INVALID_ARGUMENT: "A B=1" does not begin with the name/, /NAME=VALUE/],
    [['run', '-it', '--', 'sh'], 125, /INVALID_ARGUMENT: stdin is no terminal/, /-t/],
    [['exec', 'weg', 'true'], 125, /NOT_FOUND: there is no VM named weg/, /Did you mean web\?/],
    [['stop', 'nothing-like-it'], 125, /NOT_FOUND: there is no VM named nothing-like-it/, /polyvisor ls -a/],
    [['inspect', '../x'], 125, /INVALID_NAME: Invalid VM name "\.\.\/x"/, /such as/],
    [['rm', 'web'], 125, /INVALID_STATE: web is running/, /rm -f/],
    [['exec', 'asleep', 'true'], 125, /NOT_RUNNING: asleep is /, /./],
    [['console', 'asleep'], 125, /NOT_RUNNING: asleep is /, /./],
    [['shell', 'web'], 125, /INVALID_ARGUMENT: stdin is no terminal/, /exec -i web sh/],
    [['exec', 'web', 'no-such-program'], 127, /GUEST_NOT_FOUND: no program "no-such-program"/, /PATH/],
    [['exec', 'web', '/etc/passwd'], 126, /GUEST_NOT_EXECUTABLE: "\/etc\/passwd"/, /mode/],
    [['exec', '-u', 'nobody-here', 'web', 'true'], 125, /EXEC_FAILED: .*no such user: nobody-here/, /step/],
    [['exec', '-w', '/nowhere', 'web', 'true'], 125, /EXEC_FAILED: .*working folder \/nowhere/, /step/],
    [['image', 'rm', 'nope'], 125, /IMAGE_NOT_FOUND: there is no guest image nope/, /image/],
  ])('%j', (words, code, said, advice) => {
    const { status, stdout, lines } = cli(words);
    expect({ status, stdout, lines: lines.length }).toEqual({ status: code, stdout: '', lines: 2 });
    expect(lines[0]).toMatch(said);
    expect(lines[1]).toMatch(/^advice: /);
    expect(lines[1]).toMatch(advice);
  });

  it('a host without QEMU', () => {
    const { status, lines } = cli(['run', '-q', '--accel', 'tcg', '--', 'true'], { PATH: at.folder });
    expect(status).toBe(125);
    expect(lines).toEqual([
      expect.stringMatching(/^polyvisor: HYPERVISOR_NOT_FOUND: qemu-system-x86_64 is not on the PATH$/) as string,
      expect.stringMatching(/^advice: Install it .*`--hypervisor-path`/) as string,
    ]);
  });

  it('several names: each is tried, and each failure is told', () => {
    const { status, stdout, lines } = cli(['rm', 'one', 'two']);
    expect({ status, stdout }).toEqual({ status: 125, stdout: '' });
    expect(lines.filter((line) => line.startsWith('polyvisor: NOT_FOUND: '))).toHaveLength(2);
    const told = JSON.parse(cli(['rm', '--json', 'one', 'two']).stdout) as { errors: { name: string }[] };
    expect(told.errors.map(({ name }) => name)).toEqual(['one', 'two']);
  });
});
