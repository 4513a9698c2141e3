import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { Vm } from '../../src/sandbox/vm.ts';

/** Most growth of our resident memory over all cycles after the first ten, in MiB: a leak of a VM's objects would be far above it. */
const growthMiB = 40;

it.each([
  ['mock', 100],
  ['qemu', 100],
] as const)('creates, runs in and removes %s VMs, %d of them, and grows in nothing', async (hypervisor, cycles) => {
  let base = { descriptors: 0, mebibytes: 0 };
  for (let cycle = 0; cycle < cycles; cycle++) {
    const vm = await Vm.create({ hypervisor, memoryMiB: 256 });
    try {
      expect((await vm.exec(['echo', String(cycle)])).stdout).toBe(`${cycle}\n`);
    } finally {
      await vm.remove();
    }
    if (cycle === 9) base = measure();
  }
  const now = measure();
  expect(now.descriptors).toBeLessThanOrEqual(base.descriptors);
  expect(now.mebibytes - base.mebibytes).toBeLessThan(growthMiB);
  expect(await Vm.list()).toEqual([]);
});

function measure(): { descriptors: number; mebibytes: number } {
  return { descriptors: readdirSync('/proc/self/fd').length, mebibytes: process.memoryUsage().rss / 2 ** 20 };
}
