// The figures of docs/promises.md. `--json` prints them as data; a bound that is broken makes the exit code 1.
// `--pairs N` boots more pairs than 15: the noisier the host, the more it takes until the interval is narrow.
// `--only boot,clones` measures some of the parts only, `--growth` the tables of how they grow.
import { parseArgs } from 'node:util';
import { cliRunCpuMs, lsMs } from './cli.ts';
import { coldBoot, guestBootInstructionsMs } from './cold-boot.ts';
import { cloneFigures } from './clone.ts';
import { copyFigures } from './copy.ts';
import { execFigures } from './exec.ts';
import { growth } from './growth.ts';
import { hotPlug } from './hot-plug.ts';
import { imageDisk, importRatio, imageRunRatio } from './images.ts';
import { parallelBoot } from './parallel.ts';
import type { Estimate } from './statistics.ts';
import { versionRatio } from './version.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    pairs: { type: 'string', default: '15' },
    only: { type: 'string' },
    growth: { type: 'boolean', default: false },
  },
});
const pairs = Math.max(15, Number(values.pairs));
const asJson = values.json;
const report = (line: string): void => void process.stderr.write(`${line}\n`);

interface Row {
  value: number;
  /** for a ratio, the upper end of its 95 % interval: what the bound is held against */
  high?: number;
  bound?: { most: number } | { least: number };
}

/** What is measured together, in this order. */
const parts: Record<string, () => Promise<Record<string, Row>>> = {
  async version() {
    return { versionRatio: { ...bounds(versionRatio(pairs * 2)), bound: { most: 1.6 } } };
  },
  async boot() {
    const { ratio, wallMs, cpuMs } = await coldBoot(pairs, report);
    return {
      coldBootRatio: { ...bounds(ratio), bound: { most: 1.05 } },
      coldBootMs: { value: wallMs },
      coldBootCpuMs: { value: cpuMs, bound: { most: 60 } },
    };
  },
  async exec() {
    const exec = await execFigures();
    return {
      execP50Ms: { value: exec.execP50Ms, bound: { most: 10 } },
      cliExecP50Ms: { value: exec.cliExecP50Ms },
      stdoutMiBps: { value: exec.stdoutMiBps, bound: { least: 50 } },
      residentProcesses: { value: exec.residentProcesses, bound: { most: 0 } },
    };
  },
  async copy() {
    const { copyInMiBps, copyOutMiBps } = await copyFigures();
    return {
      copyInMiBps: { value: copyInMiBps, bound: { least: 40 } },
      copyOutMiBps: { value: copyOutMiBps, bound: { least: 40 } },
    };
  },
  async cli() {
    return {
      lsMs: { value: lsMs(1000), bound: { most: 300 } },
      cliRunCpuMs: { value: await cliRunCpuMs(9), bound: { most: 150 } },
    };
  },
  async parallel() {
    return { parallelBoot: { ...bounds(await parallelBoot(8, pairs, report)), bound: { most: 1.1 } } };
  },
  async images() {
    const disk = await imageDisk(20, report);
    return {
      imageDiskMiB: { value: disk.allMiB },
      imageDiskRestMiB: { value: disk.restMiB, bound: { most: 1 } },
      imageRunRatio: { ...bounds(await imageRunRatio(pairs, report)), bound: { most: 1.2 } },
      importRatio: { ...bounds(await importRatio(Math.ceil(pairs / 3), report)), bound: { most: 1.1 } },
    };
  },
  async plug() {
    const figures = Object.entries(await hotPlug(pairs * 3, report));
    return Object.fromEntries(figures.map(([name, { ratio, most }]) => [name, { ...bounds(ratio), bound: { most } }]));
  },
  async clones() {
    const clone = await cloneFigures(pairs, report);
    return {
      cloneRatio: { ...bounds(clone.ofBoot), bound: { most: 0.1 } },
      cloneByHandRatio: { ...bounds(clone.byHand), bound: { most: 1.2 } },
      cloneMs: { value: clone.cloneMs },
      cloneFromDiskRatio: bounds(clone.onDisk),
      cloneMemoryMiB: { value: clone.memoryMiB },
      forkPauseMs: { value: clone.forkPauseMs },
      cacheTakeMs: { value: clone.takeMs },
      cacheTakeRatio: { ...bounds(clone.taken), bound: { most: 0.5 } },
    };
  },
  async instructions() {
    return { guestBootInstructionsMs: { value: await guestBootInstructionsMs(5) } };
  },
};

if (values.growth) {
  const tables = await growth(report);
  if (asJson) console.log(JSON.stringify(tables, null, 2));
  else Object.values(tables).forEach((rows) => console.table(rows));
} else {
  const wanted = values.only?.split(',') ?? Object.keys(parts);
  const rows: Record<string, Row> = {};
  for (const name of wanted) {
    const part = parts[name];
    if (part === undefined) throw new Error(`there is no part ${name}; there are ${Object.keys(parts).join(', ')}`);
    report(name);
    Object.assign(rows, await part());
  }
  if (asJson) console.log(JSON.stringify(rows, null, 2));
  else console.table(Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, shown(row)])));
  process.exitCode = Object.values(rows).every(kept) ? 0 : 1;
}

function bounds({ value, high }: Estimate): Row {
  return { value, high };
}

function kept({ value, high, bound }: Row): boolean {
  if (bound === undefined) return true;
  return 'most' in bound ? (high ?? value) <= bound.most : value >= bound.least;
}

function shown(row: Row): Record<string, string> {
  const { value, high, bound } = row;
  return {
    value: `${value.toFixed(2)}${high === undefined ? '' : ` (up to ${high.toFixed(2)})`}`,
    bound: bound === undefined ? '' : 'most' in bound ? `<= ${bound.most}` : `>= ${bound.least}`,
    kept: bound === undefined ? '' : kept(row) ? 'yes' : 'NO',
  };
}
