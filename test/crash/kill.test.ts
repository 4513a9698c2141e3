import { expect, it } from 'vitest';
import { endSpare } from '../../src/sandbox/spare-vm.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { sweep } from './sweep.ts';
import { cli, library } from './tracer.ts';

const fault = { signal: 'KILL' } as const;
const detached = async (): Promise<void> => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'crash', detached: true });
  await vm.close();
  // This process' own, which is not to be taken for what the killed one left.
  await endSpare();
};

it('a library user that is killed at any of its calls leaves nothing behind', async () => {
  expect(await sweep({ program: library({ hypervisor: 'mock' }), fault, sample: 20 })).toEqual([]);
});

it('a library user that makes one VM after the other, and is killed at any of its calls, leaves nothing behind', async () => {
  expect(await sweep({ program: library({ hypervisor: 'mock' }, 3), fault, sample: 12 })).toEqual([]);
});

it('`run` that is killed leaves nothing behind', async () => {
  const program = cli('run', '-q', '--hypervisor', 'mock', '--name', 'crash', '--', 'true');
  expect(await sweep({ program, fault, sample: 12 })).toEqual([]);
});

it('`run -d` that is killed leaves a detached VM, or nothing', async () => {
  const program = cli('run', '-d', '-q', '--hypervisor', 'mock', '--name', 'crash');
  expect(await sweep({ program, fault, sample: 8, detached: true })).toEqual([]);
});

it.each([
  ['exec', ['crash', '--', 'true'], 4],
  ['stop', ['crash'], 6],
  ['rm', ['-f', 'crash'], 6],
] as const)(
  '`%s` of a detached VM that is killed leaves it as ls says, and removable',
  async (command, words, sample) => {
    const program = cli(command, ...words);
    expect(await sweep({ program, fault, sample, before: detached, detached: true })).toEqual([]);
  },
);
