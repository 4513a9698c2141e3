import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentBinary } from '../../../src/config/package-files.ts';
import { recipeHash } from '../../../src/images/recipe.ts';
import { describeAgent } from '../../../src/images/store.ts';
import { findImageUse, listImageUse, removeImageOf, unusedImages } from '../../../src/sandbox/images.ts';
import { findUnused, removeUnused } from '../../../src/sandbox/unused.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places } from '../../../src/state/paths.ts';
import { codeOf, failure } from '../../fakes/failure.ts';

const cache = places().images;
beforeEach(() => mkdirSync(cache, { recursive: true }));
afterEach(() => rmSync(cache, { recursive: true, force: true }));

/** Puts an image into the cache; answers its kernel's path. */
async function put(key: string, options: { made?: number; agent?: string } = {}): Promise<string> {
  const { sha256 } = await describeAgent(agentBinary);
  const folder = path.join(cache, `default-${key.slice(0, 16)}`);
  const manifest = {
    schemaVersion: 1,
    name: 'default',
    recipe: recipeHash,
    key,
    inputs: { agent: { sha256: options.agent ?? sha256, size: 5 } },
    files: { kernel: { sha256: '', size: 6 }, initrd: { sha256: '', size: 6 } },
  };
  mkdirSync(folder);
  for (const name of ['kernel', 'initrd']) writeFileSync(path.join(folder, name), name);
  writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify(manifest));
  utimesSync(path.join(folder, 'manifest.json'), options.made ?? 1000, options.made ?? 1000);
  return path.join(folder, 'kernel');
}

const keys = (images: readonly { manifest: { key: string } }[]): string[] => images.map(({ manifest }) => manifest.key);

describe('images', () => {
  const [current, old, used] = ['aaaa1111', 'bbbb2222', 'bbbb3333'];
  let kernel: string;
  beforeEach(async () => {
    await put(current, { made: 3000 });
    await put(old, { agent: 'another' });
    kernel = await put(used, { agent: 'another', made: 2000 });
  });

  it('are known with the VMs that were made of them, and whether a new VM boots them', async () => {
    const vm = await Vm.create({ hypervisor: 'mock', name: 'user', customAssets: { kernel: { path: kernel } } });
    try {
      const images = await listImageUse();
      expect(images.map(({ image, usedBy, isCurrent }) => [image.manifest.key, usedBy, isCurrent])).toEqual([
        [current, [], true],
        [used, ['user'], false],
        [old, [], false],
      ]);
      expect(keys(await unusedImages({ all: true }))).toEqual([current, old]);
      expect(keys(await unusedImages({ ignoring: ['user'] }))).toEqual([used, old]);
      expect(await failure(removeImageOf(used))).toMatchObject({
        code: 'BUSY',
        rawMessage: 'the image is used by user',
      });
      await removeImageOf(used, { force: true });
      expect(existsSync(kernel)).toBe(false);
      await vm.check();
    } finally {
      await vm.remove();
    }
  });

  it('are named by name, folder, or the beginning of a key', async () => {
    const named = async (word: string): Promise<string[]> => keys((await findImageUse(word)).map(({ image }) => image));
    expect(await named('default')).toEqual([current, used, old]);
    expect(await named('default-bbbb2222')).toEqual([old]);
    expect(await named('bbbb')).toEqual([used, old]);
    expect(await named('aaaa1')).toEqual([current]);
    expect(await codeOf(named('aaa'))).toBe('IMAGE_NOT_FOUND');
    expect(await codeOf(named('cccc'))).toBe('IMAGE_NOT_FOUND');
  });

  it('are removed one at a time, wholly', async () => {
    expect(await failure(removeImageOf('bbbb'))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      rawMessage: 'bbbb means 2 images',
    });
    await removeImageOf('bbbb2');
    expect(readdirSync(cache).toSorted()).toEqual(['default-aaaa1111', 'default-bbbb3333']);
    expect(await codeOf(removeImageOf('bbbb2'))).toBe('IMAGE_NOT_FOUND');
  });

  it('that are out of date are unused; the current one only when all are asked for', async () => {
    expect(keys(await unusedImages())).toEqual([used, old]);
    expect(keys(await unusedImages({ all: true }))).toEqual([current, used, old]);
  });
});

describe('what nobody uses', () => {
  it('is found without a change, and removed; what runs is left alone', async () => {
    await put('aaaa1111', { made: 3000 });
    const kernel = await put('bbbb2222', { agent: 'another' });
    const running = await Vm.create({ hypervisor: 'mock', name: 'running' });
    const ended = await Vm.create({ hypervisor: 'mock', name: 'ended' });
    try {
      await ended.stop();
      expect(await findUnused()).toEqual({ abandoned: [], ended: [], images: [] });
      const unused = await findUnused({ all: true });
      expect({ ...unused, images: keys(unused.images) }).toEqual({
        abandoned: [],
        ended: ['ended'],
        images: ['bbbb2222'],
      });
      expect(existsSync(kernel)).toBe(true);
      await removeUnused(unused);
      expect((await Vm.list()).map(({ name }) => name)).toEqual(['running']);
      expect(existsSync(kernel)).toBe(false);
      expect(await findUnused({ all: true })).toEqual({ abandoned: [], ended: [], images: [] });
    } finally {
      await running.remove();
      await ended.remove();
    }
  });
});
