import { expect, it } from 'vitest';
import { sweep } from './sweep.ts';
import { library } from './tracer.ts';

it.each([
  ['ENOSPC', 8],
  ['EIO', 10],
  ['EMFILE', 10],
] as const)('%s at any call is a typed error, and nothing is left', async (error, sample) => {
  expect(await sweep({ program: library({ hypervisor: 'mock' }), fault: { error }, sample })).toEqual([]);
});
