import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../../src/errors.ts';
import {
  freeSlot,
  memoryChange,
  type MemoryLimits,
  type MemoryModule,
} from '../../../src/hypervisors/memory-modules.ts';

const limits: MemoryLimits = { bootMiB: 256, slots: 3, maxMiB: 4096, blockMiB: 128 };
const modules = (...sizes: number[]): MemoryModule[] => sizes.map((sizeMiB, slot) => ({ slot, sizeMiB }));
const refusal = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return error instanceof VmError ? `${error.code} ${error.rawMessage}` : String(error);
  }
  return 'allowed';
};

describe('growth', () => {
  it('is rounded up to whole blocks and takes the lowest free slot', () => {
    expect(memoryChange([], 257, limits)).toEqual({ add: { slot: 0, sizeMiB: 128 }, remove: [] });
    const gap = [
      { slot: 0, sizeMiB: 128 },
      { slot: 2, sizeMiB: 128 },
    ];
    expect(memoryChange(gap, 1000, limits)).toEqual({ add: { slot: 1, sizeMiB: 512 }, remove: [] });
  });

  it('ends at the slots and at the maximum', () => {
    expect(refusal(() => memoryChange(modules(128, 128, 128), 1024, limits))).toMatch(
      /^INVALID_ARGUMENT all 3 memory slots/,
    );
    expect(refusal(() => memoryChange([], 4097, limits))).toMatch(
      /^INVALID_ARGUMENT memoryMiB can be at most 4096, not 4224/,
    );
  });
});

describe('shrinking', () => {
  it('takes away the last modules that are not too large', () => {
    expect(memoryChange(modules(128, 512, 256), 512, limits).remove).toEqual([
      { slot: 2, sizeMiB: 256 },
      { slot: 0, sizeMiB: 128 },
    ]);
  });

  it('says so when no module is small enough, and never goes below the start', () => {
    expect(refusal(() => memoryChange(modules(512), 700, limits))).toMatch(
      /^INVALID_ARGUMENT no memory module is small enough/,
    );
    expect(refusal(() => memoryChange(modules(512), 255, limits))).toMatch(/at least the 256/);
  });
});

it.each([0, -1, 1.5, Number.NaN])('a block of %s is refused', (blockMiB) => {
  expect(refusal(() => memoryChange([], 512, { ...limits, blockMiB }))).toMatch(
    /^INVALID_ARGUMENT the memory block size/,
  );
});

describe('any sequence of sizes', () => {
  it('never leaves less than was asked, a slot twice, or more than the limits', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 30 }), (wishes) => {
        let held: MemoryModule[] = [];
        for (const wish of wishes) {
          let change;
          try {
            change = memoryChange(held, wish, limits);
          } catch (error) {
            expect(error).toBeInstanceOf(VmError);
            continue;
          }
          const { add, remove } = change;
          held = held.filter((module) => !remove.includes(module));
          if (add !== undefined) held.push(add);
          const total = limits.bootMiB + held.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
          expect(total).toBeGreaterThanOrEqual(wish);
          expect(total).toBeLessThanOrEqual(limits.maxMiB);
          expect(new Set(held.map(({ slot }) => slot)).size).toBe(held.length);
          expect(held.every(({ slot }) => slot >= 0 && slot < limits.slots)).toBe(true);
        }
      }),
    );
  });

  it('gives out each free slot before there is none', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 9 })), (taken) => {
        const held = taken.map((slot) => ({ slot, sizeMiB: 128 }));
        if (taken.length === 10) expect(() => freeSlot(held, 10)).toThrow(VmError);
        else expect(taken).not.toContain(freeSlot(held, 10));
      }),
    );
  });
});
