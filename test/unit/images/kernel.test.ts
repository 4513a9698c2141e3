import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { unpackKernel } from '../../../src/images/kernel.ts';
import { elfFile } from './elf-fixture.ts';
import { bzImage } from './image-fixture.ts';

const kernel = elfFile({ '.text': Buffer.alloc(3000, 0x90) });

describe('unpackKernel', () => {
  it('takes the ELF kernel out of a bzImage', () => {
    expect(unpackKernel(bzImage(kernel))).toEqual(kernel);
  });

  it('leaves out what is behind the ELF file', () => {
    expect(unpackKernel(bzImage(Buffer.concat([kernel, Buffer.alloc(400, 7)])))).toEqual(kernel);
  });

  it('knows gzip too', () => {
    expect(unpackKernel(bzImage(kernel, { payload: gzipSync(kernel) }))).toEqual(kernel);
  });

  it('leaves other files and other methods alone', () => {
    expect(unpackKernel(kernel)).toBeUndefined();
    expect(unpackKernel(Buffer.from('x'))).toBeUndefined();
    expect(unpackKernel(bzImage(kernel, { payload: Buffer.from('\xfd7zXZ\0....') }))).toBeUndefined();
  });

  it('refuses an image that is cut off, or holds no kernel', () => {
    expect(() => unpackKernel(bzImage(kernel).subarray(0, 2000))).toThrow('FILE_INVALID');
    expect(() => unpackKernel(bzImage(Buffer.alloc(3000, 1)))).toThrow('FILE_INVALID');
    expect(() => unpackKernel(bzImage(kernel.subarray(0, 3000)))).toThrow('FILE_INVALID');
  });

  it('refuses a size that no kernel has', () => {
    const payload = Buffer.concat([bzImage(kernel).subarray(1040, -4), Buffer.from([0xff, 0xff, 0xff, 0x7f])]);
    expect(() => unpackKernel(bzImage(kernel, { payload }))).toThrow('FILE_INVALID');
  });
});
