import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sha256 } from '../../../src/images/file-record.ts';
import { recipeHash } from '../../../src/images/recipe.ts';
import { findImage, listImages, openScratch } from '../../../src/images/store.ts';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(path.join(tmpdir(), 'store-'));
});
afterEach(() => rmSync(cache, { recursive: true }));

function put(name: string, manifest: object, made = 1000): void {
  const folder = path.join(cache, name);
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'kernel'), 'kernel');
  writeFileSync(path.join(folder, 'initrd'), 'initrd');
  writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify(manifest));
  utimesSync(path.join(folder, 'manifest.json'), made, made);
}

const manifest = {
  schemaVersion: 1,
  name: 'default',
  recipe: recipeHash,
  inputs: { agent: { sha256: sha256('agent'), size: 5 } },
  files: { kernel: { sha256: '', size: 6 }, initrd: { sha256: '', size: 6 } },
};

describe('listImages', () => {
  it('finds nothing where there is no folder', async () => {
    expect(await listImages(path.join(cache, 'none'))).toEqual([]);
  });

  it('lists the newest first and passes over what is no image', async () => {
    put('default-1', manifest, 1000);
    put('default-2', manifest, 2000);
    put('cut', { ...manifest, files: { ...manifest.files, kernel: { size: 7 } } });
    put('future', { ...manifest, schemaVersion: 99 });
    put('nonsense', []);
    put('.hidden', manifest);
    mkdirSync(path.join(cache, 'empty'));
    writeFileSync(path.join(cache, 'file'), '');
    expect((await listImages(cache)).map(({ folder }) => path.basename(folder))).toEqual(['default-2', 'default-1']);
  });

  it('says so when the folder cannot be read', async () => {
    writeFileSync(path.join(cache, 'file'), '');
    await expect(listImages(path.join(cache, 'file'))).rejects.toMatchObject({ code: 'IO' });
  });
});

describe('findImage', () => {
  it('wants the name, the recipe and the agent', async () => {
    const agent = path.join(cache, 'agent');
    writeFileSync(agent, 'agent');
    put('one', manifest);
    expect((await findImage(cache, 'default', agent))?.folder).toBe(path.join(cache, 'one'));
    expect(await findImage(cache, 'other', agent)).toBeUndefined();
    writeFileSync(agent, 'another');
    expect(await findImage(cache, 'default', agent)).toBeUndefined();
    expect(await findImage(cache, 'default')).toBeDefined();
    await expect(findImage(cache, 'default', path.join(cache, 'none'))).rejects.toMatchObject({
      code: 'FILE_NOT_FOUND',
    });
  });

  it('passes over an image of another recipe', async () => {
    put('old', { ...manifest, recipe: 'other' });
    expect(await findImage(cache, 'default')).toBeUndefined();
  });
});

describe('openScratch', () => {
  it('removes what killed builders left, and nothing of living ones', async () => {
    const mine = await openScratch(cache);
    const [dead, reused] = [
      path.join(cache, '.building-4194305-1-x'),
      path.join(cache, `.building-${process.pid}-1-x`),
    ];
    mkdirSync(dead);
    mkdirSync(reused);
    const second = await openScratch(cache);
    expect([mine, second, dead, reused].map((folder) => existsSync(folder))).toEqual([true, true, false, false]);
  });
});
