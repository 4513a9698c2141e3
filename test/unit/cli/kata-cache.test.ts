import path from 'node:path';
import { expect, it } from 'vitest';
import { kataCache, takeOfKata } from '../../../src/cli/kata-cache.ts';
import { settle, type SettledOptions } from '../../../src/cli/vm-settings.ts';
import { defaultFactory, type KataFactory } from '../../../src/kata/factory.ts';
import { openCacheServer } from '../../../src/sandbox/serve-cache.ts';
import { cacheEndpoint, places } from '../../../src/state/paths.ts';
import { scratch } from '../../fakes/programs.ts';
import { written } from '../kata/fixture.ts';

const at = scratch();

/** What such a file says. Kata refuses a cache on anything but QEMU, whose VMs take longer than those of the mock. */
async function settled(
  factory: Partial<KataFactory>,
  flags: Parameters<typeof settle>[0] = {},
): Promise<SettledOptions> {
  const config = written('[hypervisor.mock]\ndefault_memory = 256\n');
  const found = await settle({ config, ...flags });
  return { ...found, settings: { ...found.settings, factory: { ...defaultFactory, ...factory } } };
}

const call = { signal: new AbortController().signal };

it("a VM is taken of the cache that Kata's file names", async () => {
  const endpoint = path.join(at.folder, 'cache.sock');
  const cache = { cacheNumber: 1, cacheEndpoint: endpoint };
  const asked = await settled(cache);
  expect(kataCache(asked)).toEqual({ cache: 1, endpoint });
  const told: string[] = [];
  const tell = (why: string): void => void told.push(why);
  // Nobody has started its server: as with Kata, a VM is made instead.
  expect(await takeOfKata(asked, call, tell)).toBeUndefined();
  expect(told.splice(0).join()).toContain(`no server answers on ${endpoint}`);

  await using server = await openCacheServer({ ...asked.options, cache: 1, endpoint });
  await server.filled();
  const vm = await takeOfKata(asked, { ...call, name: 'taken' }, tell);
  expect(told).toEqual([]);
  expect(vm?.name).toBe('taken');
  expect((await vm?.exec(['echo', 'ready']))?.stdout).toBe('ready\n');
  await vm?.remove();

  // What else is said is not what stands ready.
  expect(await takeOfKata(await settled(cache, { memory: 512, cpuLimit: 1 }), call, tell)).toBeUndefined();
  expect(told.join()).toMatch(/its VMs differ in memoryMiB, cpuLimit$/);
});

it('none is asked for by a number of 0, and the usual place is ours', async () => {
  expect(kataCache(await settled({ cacheNumber: 0 }))).toBeUndefined();
  expect(kataCache(await settled({ cacheNumber: 2 }))).toEqual({ cache: 2, endpoint: cacheEndpoint(places()) });
});
