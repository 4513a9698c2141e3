import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  findRootImages,
  importImage,
  listRootImages,
  pruneRootImages,
  removeRootImage,
} from '../../../src/sandbox/root-images.ts';
import { storedImage } from '../../../src/sandbox/root-image.ts';
import { storeConfig } from '../../../src/sandbox/context.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import type { HypervisorConfig } from '../../../src/config/vm-config.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places } from '../../../src/state/paths.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { archive } from '../../fakes/tar.ts';

const { roots, vms } = places();
let work: string;

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'roots-'));
});
afterEach(() => {
  rmSync(work, { recursive: true });
  rmSync(roots, { recursive: true, force: true });
});

async function make(name: string, content: string): Promise<string> {
  const source = path.join(work, `${name}.tar`);
  writeFileSync(source, archive({ name: 'file', body: content }));
  return (await importImage(source)).file;
}

it('finds an image by its name and by its digest', async () => {
  const file = await make('one', '1');
  await make('two', '2');
  expect((await listRootImages()).map(({ image }) => image.name)).toEqual(['one', 'two']);
  expect((await findRootImages(path.basename(file).slice(0, 8))).map(({ image }) => image.name)).toEqual(['one']);
  expect(await findRootImages('none')).toEqual([]);
  expect(await storedImage(roots, 'one')).toMatchObject({ name: 'one', file });
  expect(await storedImage(roots, '/a/disk')).toBeUndefined();
  expect(await storedImage(roots, 'default')).toMatchObject({ name: 'default', file: undefined });
  expect((await failure(storedImage(roots, 'none'))).code).toBe('IMAGE_NOT_FOUND');
  expect((await failure(storedImage(roots, '..'))).code).toBe('INVALID_NAME');
});

it('keeps a file as long as one of its names is there', async () => {
  const file = await make('one', 'same');
  await make('two', 'same');
  await removeRootImage('one');
  expect(existsSync(file)).toBe(true);
  await removeRootImage('two');
  expect(existsSync(file)).toBe(false);
  expect(await codeOf(removeRootImage('two'))).toBe('IMAGE_NOT_FOUND');
});

it('asks which of several images a digest means', async () => {
  const file = await make('one', 'same');
  await make('two', 'same');
  expect(await codeOf(removeRootImage(path.basename(file)))).toBe('INVALID_ARGUMENT');
});

it('refuses to remove what a VM has; by force the name goes and the file stays until it is pruned', async () => {
  const file = await make('one', '1');
  const vm = await Vm.create({ hypervisor: 'mock', name: 'user', start: false });
  try {
    const config = { ...parseConfig({}), customAssets: {}, image: file } as unknown as HypervisorConfig;
    await storeConfig(path.join(vms, 'user'), { config });
    expect((await listRootImages())[0]?.usedBy).toEqual(['user']);
    expect(await codeOf(removeRootImage('one'))).toBe('BUSY');
    expect(await pruneRootImages({ all: true })).toEqual({ names: [], bytes: 0 });
    await removeRootImage('one', { force: true });
    expect(await listRootImages()).toEqual([]);
    expect(await pruneRootImages()).toEqual({ names: [], bytes: 0 });
    expect(existsSync(file)).toBe(true);
  } finally {
    await vm.remove();
  }
  expect((await pruneRootImages()).bytes).toBeGreaterThan(0);
  expect(readdirSync(path.join(roots, 'files'))).toEqual([]);
});

it('prunes what has lost its name; with all, what no VM has', async () => {
  const old = await make('one', 'old');
  const fresh = await make('one', 'new');
  expect((await pruneRootImages()).names).toEqual([]);
  expect([existsSync(old), existsSync(fresh)]).toEqual([false, true]);
  expect((await pruneRootImages({ all: true })).names).toEqual(['one']);
  expect(existsSync(fresh)).toBe(false);
});
