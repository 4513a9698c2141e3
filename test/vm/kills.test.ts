import { expect, it } from 'vitest';
import { killAtRandom } from '../crash/random-kills.ts';
import { smallGuest } from './guest.ts';

it('an owner of a real guest that is killed at any moment leaves nothing behind', async () => {
  expect(await killAtRandom(smallGuest, 20)).toEqual([]);
});
