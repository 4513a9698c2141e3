import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Template } from '../../src/sandbox/template.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { machine } from './cold-boot.ts';
import { cloneByHand, type HandCloner } from './clone-by-hand.ts';
import { type Estimate, median, ratio } from './statistics.ts';

/** Clones that stand side by side when their memory is measured. */
const crowds = [1, 2, 4, 8, 16, 32] as const;
const forks = 9;
const takes = 15;

/** Figures of templates, clones, forks and the cache. */
export interface CloneFigures {
  /** clone to the end of its first command, over the same by hand */
  byHand: Estimate;
  /** the same, over a cold boot */
  ofBoot: Estimate;
  /** of a template on a disk, over one in tmpfs */
  onDisk: Estimate;
  /** medians, in ms */
  cloneMs: number;
  forkPauseMs: number;
  takeMs: number;
  /** a VM taken from a filled cache to the end of its first command, over a clone */
  taken: Estimate;
  /** PSS that one more idle clone adds, in MiB */
  memoryMiB: number;
  /** by number of clones: ms for each to be made, and PSS of all */
  crowd: readonly { clones: number; eachMs: number; totalMiB: number }[];
}

/** @param pairs of each ratio, taken side by side */
export async function cloneFigures(pairs: number, report: (line: string) => void): Promise<CloneFigures> {
  await using inTmpfs = await Vm.template({ ...machine, name: 'bench-tmpfs', memory: 'tmpfs' });
  await using onDisk = await Vm.template({ ...machine, name: 'bench-disk', memory: 'disk' });
  const byHand = await cloneByHand(inTmpfs.info);
  const walls: { clone: number; hand: number; boot: number; disk: number }[] = [];
  await cloned(inTmpfs);
  await handCloned(byHand);
  for (let at = 0; at < pairs; at++) {
    const wall = { clone: 0, hand: 0, boot: 0, disk: 0 };
    const steps = [
      async () => (wall.clone = await cloned(inTmpfs)),
      async () => (wall.hand = await handCloned(byHand)),
      async () => (wall.disk = await cloned(onDisk)),
      async () => (wall.boot = await booted()),
    ];
    for (const step of at % 2 === 0 ? steps : steps.toReversed()) await step();
    walls.push(wall);
    const shown = Object.entries(wall).map(([name, ms]) => `${name} ${ms.toFixed(0)} ms`);
    report(`clone ${at + 1}/${pairs}: ${shown.join(', ')}`);
  }
  const over = (of: 'hand' | 'boot'): Estimate => ratio(walls.map((wall) => [wall.clone, wall[of]]));
  const cache = await takenFromCache(inTmpfs, report);
  const crowd = await crowded(inTmpfs, report);
  const [first, last] = [crowd[0], crowd.at(-1)];
  return {
    byHand: over('hand'),
    ofBoot: over('boot'),
    onDisk: ratio(walls.map(({ disk, clone }) => [disk, clone])),
    cloneMs: median(walls.map(({ clone }) => clone)),
    forkPauseMs: await forkPause(report),
    takeMs: median(cache.map(([take]) => take)),
    taken: ratio(cache),
    memoryMiB: ((last?.totalMiB ?? 0) - (first?.totalMiB ?? 0)) / ((last?.clones ?? 0) - (first?.clones ?? 0)),
    crowd,
  };
}

async function cloned(template: Template<Vm>): Promise<number> {
  return firstCommand(() => template.clone());
}

async function booted(): Promise<number> {
  return firstCommand(() => Vm.create(machine));
}

async function firstCommand(make: () => Promise<Vm>): Promise<number> {
  const began = performance.now();
  const vm = await make();
  try {
    await vm.exec(['true'], { check: true });
    return performance.now() - began;
  } finally {
    await vm.remove();
  }
}

async function handCloned(clone: HandCloner): Promise<number> {
  const began = performance.now();
  const vm = await clone();
  try {
    await vm.agent.exec(['true'], { check: true });
    return performance.now() - began;
  } finally {
    await vm.end();
  }
}

/** Pairs of a VM that was taken, and one that was cloned. */
async function takenFromCache(
  template: Template<Vm>,
  report: (line: string) => void,
): Promise<(readonly [number, number])[]> {
  await using factory = await Vm.factory({ template: template.name, cache: 1 });
  const pairs: (readonly [number, number])[] = [];
  for (let at = 0; at < takes; at++) {
    await factory.filled();
    const take = await firstCommand(() => factory.getVm());
    // The cache makes another one meanwhile: that is not to be measured.
    await factory.filled();
    const clone = await cloned(template);
    pairs.push([take, clone]);
    report(`cache ${at + 1}/${takes}: ${take.toFixed(0)} ms, a clone ${clone.toFixed(0)} ms`);
  }
  return pairs;
}

async function forkPause(report: (line: string) => void): Promise<number> {
  await using vm = await Vm.create({ ...machine, fileBackedMemRootDir: '/dev/shm' });
  const pauses: number[] = [];
  for (let at = 0; at < forks; at++) {
    for (const fork of await vm.fork(1, { onPause: (ms) => pauses.push(ms) })) await fork.remove();
    report(`fork ${at + 1}/${forks}: ${pauses.at(-1)?.toFixed(0)} ms`);
  }
  return median(pauses);
}

async function crowded(template: Template<Vm>, report: (line: string) => void): Promise<CloneFigures['crowd']> {
  const rows: CloneFigures['crowd'][number][] = [];
  const clones: Vm[] = [];
  try {
    for (const number of crowds) {
      const [before, began] = [clones.length, performance.now()];
      while (clones.length < number) clones.push(await template.clone());
      const eachMs = (performance.now() - began) / (number - before);
      const totalMiB = (await Promise.all(clones.map(pssMiB))).reduce((sum, one) => sum + one, 0);
      rows.push({ clones: number, eachMs, totalMiB });
      report(`${number} clones: ${eachMs.toFixed(0)} ms each, ${totalMiB.toFixed(0)} MiB together`);
    }
    return rows;
  } finally {
    for (const clone of clones) await clone.remove();
  }
}

/** Of the VMM, its part of what it shares included (Documentation/filesystems/proc.rst in Linux). */
async function pssMiB(vm: Vm): Promise<number> {
  const { pid } = await vm.inspect();
  const rollup = readFileSync(path.join('/proc', `${pid}`, 'smaps_rollup'), 'utf8');
  return Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1]) / 1024;
}
