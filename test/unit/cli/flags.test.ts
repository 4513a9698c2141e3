import { Command, CommanderError } from 'commander';
import { expect, it } from 'vitest';
import { addExecFlags, type ExecFlags } from '../../../src/cli/exec-flags.ts';
import { addVmFlags, type VmFlags, vmOptions } from '../../../src/cli/vm-flags.ts';

function parse(words: string[]): { flags: VmFlags & ExecFlags; argv: string[] } {
  const command = addExecFlags(addVmFlags(new Command('x')), 'time')
    .argument('[argv...]')
    .passThroughOptions()
    .exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  command.parse(words, { from: 'user' });
  return { flags: command.opts(), argv: command.args };
}

function options(words: string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(vmOptions(parse(words).flags)).filter(([, value]) => value !== undefined));
}

it('says nothing of a VM that nothing was said of', () => {
  expect(options([])).toEqual({});
});

it('turns flags into options of the library, with absolute paths and units', () => {
  const words = [
    '--name',
    'web',
    '--hypervisor',
    'mock',
    '--accel',
    'tcg',
    '-m',
    '1.5G',
    '--cpus',
    '2',
    '--kernel',
    'k',
    '--initrd',
    '/i',
  ];
  expect(options([...words, '--append', 'quiet  root=/dev/vda x="a b"'])).toEqual({
    name: 'web',
    hypervisor: 'mock',
    accel: 'tcg',
    memoryMiB: 1536,
    vcpus: 2,
    kernel: `${process.cwd()}/k`,
    initrd: '/i',
    kernelParams: [
      { key: 'quiet', value: '' },
      { key: 'root', value: '/dev/vda' },
      { key: 'x', value: '"a b"' },
    ],
  });
});

it('leaves an empty path as wrong as it is', () => {
  expect(options(['--kernel', ''])).toEqual({ kernel: '' });
});

it.each([
  [['-m', '12x']],
  [['-m', '1.00001M']],
  [['--cpus', '1.5']],
  [['--cpus', '-1']],
  [['--accel', 'hvf']],
  [['--timeout', '0']],
  [['--timeout', '25d']],
  [['--json', '-t']],
  [['--no-such']],
  [['-m']],
])('refuses %j as wrong usage', (words) => {
  expect(() => parse(words)).toThrow(CommanderError);
});

it('collects what may be repeated', () => {
  const { flags } = parse(['-e', 'A=1', '--env', 'B', '--env-file', 'f', '--timeout', '1.5s', '-it']);
  expect(flags).toMatchObject({ env: ['A=1', 'B'], envFile: ['f'], timeout: 1500, interactive: true, tty: true });
});

it('gives the guest everything from its command on', () => {
  expect(parse(['-i', 'ls', '-t', '--json', '--', '-m']).argv).toEqual(['ls', '-t', '--json', '--', '-m']);
  expect(parse(['-i', '--', '-t', 'x']).argv).toEqual(['-t', 'x']);
  expect(parse(['ls', '-t']).flags).toEqual({});
});
