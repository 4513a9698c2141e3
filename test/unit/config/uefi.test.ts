import { expect, it } from 'vitest';
import { isUefi } from '../../../src/config/uefi.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

it.each([
  ['a firmware volume', Buffer.concat([Buffer.alloc(40), Buffer.from('_FVH'), Buffer.alloc(100)]), true],
  ['a BIOS', Buffer.alloc(65_536, 0xf4), false],
  ['a file that ends before it could tell', Buffer.alloc(42), false],
])('%s', (_, content, uefi) => {
  expect(isUefi(at.write('firmware', content))).toBe(uefi);
});

it('a file that is not there is none', () => {
  expect(isUefi(at.file('none'))).toBe(false);
});
