import { expect, it } from 'vitest';
import { sweepKeeper } from './sweep.ts';
import { library } from './tracer.ts';

it('a keeper, or what it runs, that is killed at any of its calls is a typed error, and nothing is left', async () => {
  expect(await sweepKeeper(library({ hypervisor: 'mock' }), 12)).toEqual([]);
});
