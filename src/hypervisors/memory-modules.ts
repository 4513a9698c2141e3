import { VmError } from '../errors.ts';

/** Memory that was plugged into a VM after its start. */
export interface MemoryModule {
  slot: number;
  sizeMiB: number;
}

/** What bounds the memory of a VM. */
export interface MemoryLimits {
  /** what the VM started with */
  bootMiB: number;
  /** how many modules it takes */
  slots: number;
  /** most memory in all */
  maxMiB: number;
  /** what sizes of modules are rounded up to */
  blockMiB: number;
}

/** How modules get a VM to another size. */
export interface MemoryChange {
  add?: MemoryModule;
  /** in the order in which they are to be taken away */
  remove: readonly MemoryModule[];
}

/**
 * What to add or to take away so that a VM has at least this much memory, and as little more as its modules allow. Pure.
 * @throws {VmError} INVALID_ARGUMENT below what the VM started with, above its maximum, when all slots are taken, or when no module is
 *   small enough to be taken away
 */
export function memoryChange(
  modules: readonly MemoryModule[],
  memoryMiB: number,
  { bootMiB, slots, maxMiB, blockMiB }: MemoryLimits,
): MemoryChange {
  if (!(Number.isInteger(blockMiB) && blockMiB > 0))
    throw wrong('blockSizeMiB', `the memory block size must be a whole number of MiB above 0, not ${blockMiB}`);
  if (!(Number.isInteger(memoryMiB) && memoryMiB >= bootMiB))
    throw wrong('memoryMiB', `memoryMiB must be at least the ${bootMiB} that the VM started with, not ${memoryMiB}`);
  const nowMiB = bootMiB + total(modules);
  if (memoryMiB > nowMiB) {
    const sizeMiB = roundUp(memoryMiB - nowMiB, blockMiB);
    if (nowMiB + sizeMiB > maxMiB)
      throw wrong(
        'memoryMiB',
        `memoryMiB can be at most ${maxMiB}, not ${nowMiB + sizeMiB} (in blocks of ${blockMiB})`,
      );
    return { add: { slot: freeSlot(modules, slots), sizeMiB }, remove: [] };
  }
  const remove = removable(modules, nowMiB - memoryMiB);
  if (remove.length > 0 || memoryMiB === nowMiB) return { remove };
  const sizes = modules.map(({ sizeMiB }) => sizeMiB).join(', ');
  throw wrong(
    'memoryMiB',
    `no memory module is small enough to be taken away: the VM has ${nowMiB} MiB, of which ${sizes} in modules`,
    'Shrink by a whole module, or start the VM with `virtioMem`, which gives back memory in small pieces.',
  );
}

/**
 * The lowest slot without a module.
 * @throws {VmError} INVALID_ARGUMENT when there is none
 */
export function freeSlot(modules: readonly MemoryModule[], slots: number): number {
  const taken = new Set(modules.map(({ slot }) => slot));
  for (let slot = 0; slot < slots; slot++) if (!taken.has(slot)) return slot;
  throw wrong('memorySlots', `all ${slots} memory slots are in use`, 'Start the VM with more `memorySlots`.');
}

/** The last modules first, as long as they are no larger than what is too much. */
function removable(modules: readonly MemoryModule[], tooMuchMiB: number): MemoryModule[] {
  const remove: MemoryModule[] = [];
  let left = tooMuchMiB;
  for (const module of modules.toSorted((a, b) => b.slot - a.slot)) {
    if (module.sizeMiB > left) continue;
    remove.push(module);
    left -= module.sizeMiB;
  }
  return remove;
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function total(modules: readonly MemoryModule[]): number {
  return modules.reduce((sum, { sizeMiB }) => sum + sizeMiB, 0);
}

function wrong(field: string, problem: string, advice?: string): VmError {
  return new VmError('INVALID_ARGUMENT', problem, { operation: 'resizeMemory', field, advice });
}
