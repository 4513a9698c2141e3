import { expect, it } from 'vitest';
import { killAtRandom } from '../crash/random-kills.ts';
import { smallGuest } from '../vm/guest.ts';

it('an owner of a real guest that is killed at any moment, 200 times, leaves nothing behind', async () => {
  expect(await killAtRandom(smallGuest, 200)).toEqual([]);
});
