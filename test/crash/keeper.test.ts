import { expect, it } from 'vitest';
import { sweepKeeper } from './sweep.ts';
import { library } from './tracer.ts';

it('a keeper, or what it runs, that is killed at any of its calls is a typed error, and nothing is left', async () => {
  expect(await sweepKeeper(library({ hypervisor: 'mock' }), 12)).toEqual([]);
});

it('so is one that was begun before its VM was wanted', async () => {
  // Two VMs begin their own, the second one's end of its start the third.
  const program = { ...library({ hypervisor: 'mock' }, 3), keeper: 2 };
  expect(await sweepKeeper(program, 12)).toEqual([]);
});
