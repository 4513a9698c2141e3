import { describe, expect, it } from 'vitest';
import { isLegacyLz4, unpackLegacyLz4 } from '../../../src/images/lz4.ts';
import { frame, literalFrame } from './lz4-fixture.ts';

describe('unpackLegacyLz4', () => {
  it('copies literals, also more than one length byte holds', () => {
    for (const length of [1, 14, 15, 16, 269, 270, 271, 5000]) {
      const content = Buffer.from(Array.from({ length }, (_, index) => index % 251));
      expect(unpackLegacyLz4(literalFrame(content), length)).toEqual(content);
    }
  });

  it('repeats what a match overlaps', () => {
    // "abc", a match of 4 + 15 + 3 bytes at distance 3, then "Z"
    const block = Buffer.from([0x3f, 0x61, 0x62, 0x63, 3, 0, 3, 0x10, 0x5a]);
    expect(unpackLegacyLz4(frame(block), 26).toString()).toBe(`${'abc'.repeat(9).slice(0, 25)}Z`);
  });

  it('repeats one byte', () => {
    const block = Buffer.from([0x14, 0x61, 1, 0, 0x10, 0x5a]);
    expect(unpackLegacyLz4(frame(block), 10).toString()).toBe('aaaaaaaaaZ');
  });

  it('copies a match that does not overlap', () => {
    const block = Buffer.from([0x50, ...Buffer.from('hello'), 5, 0, 0x10, 0x21]);
    expect(unpackLegacyLz4(frame(block), 10).toString()).toBe('hellohell!');
  });

  it('goes on with the next block', () => {
    const two = Buffer.concat([literalFrame(Buffer.from('one')), literalFrame(Buffer.from('two')).subarray(4)]);
    expect(unpackLegacyLz4(two, 6).toString()).toBe('onetwo');
  });

  it.each([
    ['a length byte missing', [0xf0]],
    ['fewer literals than said', [0x50, 1]],
    ['a match from before the start', [0x14, 0x61, 2, 0, 0x10, 0x5a]],
    ['a match at distance 0', [0x14, 0x61, 0, 0, 0x10, 0x5a]],
    ['half a distance', [0x14, 0x61, 1]],
    ['a match beyond the end', [0x1f, 0x61, 1, 0, 255, 255, 0, 0x10, 0x5a]],
    ['no block at all', []],
  ])('refuses %s', (_, block) => {
    expect(() => unpackLegacyLz4(frame(Buffer.from(block)), 10)).toThrow('FILE_INVALID');
  });

  it('refuses a frame that ends early', () => {
    expect(() => unpackLegacyLz4(literalFrame(Buffer.from('one')), 4)).toThrow('FILE_INVALID');
    expect(isLegacyLz4(Buffer.from('one'))).toBe(false);
  });
});
