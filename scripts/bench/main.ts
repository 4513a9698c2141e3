// The figures of docs/promises.md. `--json` prints them as data; a bound that is broken makes the exit code 1.
// `--pairs N` boots more pairs than 15: the noisier the host, the more it takes until the interval is narrow.
import { parseArgs } from 'node:util';
import { cliRunCpuMs, lsMs } from './cli.ts';
import { coldBoot, guestBootInstructionsMs } from './cold-boot.ts';
import { cloneFigures } from './clone.ts';
import { copyFigures } from './copy.ts';
import { execFigures } from './exec.ts';
import { hotPlug } from './hot-plug.ts';
import { importRatio, imageRunRatio } from './images.ts';
import { parallelBoot } from './parallel.ts';
import { versionRatio } from './version.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, pairs: { type: 'string', default: '15' } },
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

const version = versionRatio(pairs * 2);
const boot = await coldBoot(pairs, report);
report('commands on a running machine');
const exec = await execFigures();
report('copies into a running machine and out of it');
const copy = await copyFigures();
report('the command line program');
const list = lsMs(1000);
const runCpu = await cliRunCpuMs(9);
const parallel = await parallelBoot(8, 5, report);
report('images');
const imageRun = await imageRunRatio(pairs, report);
const imports = await importRatio(Math.ceil(pairs / 3), report);
report('hot-plug');
const plug = await hotPlug(pairs, report);
report('clones');
const clone = await cloneFigures(pairs, report);
report('instructions of the boot');
const instructions = await guestBootInstructionsMs(5);

const rows: Record<string, Row> = {
  coldBootRatio: { value: boot.ratio.value, high: boot.ratio.high, bound: { most: 1.05 } },
  coldBootMs: { value: boot.wallMs },
  coldBootCpuMs: { value: boot.cpuMs, bound: { most: 60 } },
  execP50Ms: { value: exec.execP50Ms, bound: { most: 10 } },
  cliExecP50Ms: { value: exec.cliExecP50Ms },
  stdoutMiBps: { value: exec.stdoutMiBps, bound: { least: 50 } },
  copyInMiBps: { value: copy.copyInMiBps, bound: { least: 40 } },
  copyOutMiBps: { value: copy.copyOutMiBps, bound: { least: 40 } },
  guestBootInstructionsMs: { value: instructions },
  lsMs: { value: list, bound: { most: 300 } },
  cliRunCpuMs: { value: runCpu, bound: { most: 150 } },
  parallelBoot: { value: parallel.value, high: parallel.high, bound: { most: 1.1 } },
  imageRunRatio: { value: imageRun.value, high: imageRun.high, bound: { most: 1.2 } },
  importRatio: { value: imports.value, high: imports.high, bound: { most: 1.1 } },
  ...Object.fromEntries(
    Object.entries(plug).map(([name, { ratio, most }]): [string, Row] => [
      name,
      { value: ratio.value, high: ratio.high, bound: { most } },
    ]),
  ),
  cloneRatio: { value: clone.ofBoot.value, high: clone.ofBoot.high, bound: { most: 0.1 } },
  cloneByHandRatio: { value: clone.byHand.value, high: clone.byHand.high, bound: { most: 1.2 } },
  cloneMs: { value: clone.cloneMs },
  cloneFromDiskRatio: { value: clone.onDisk.value, high: clone.onDisk.high },
  cloneMemoryMiB: { value: clone.memoryMiB },
  forkPauseMs: { value: clone.forkPauseMs },
  cacheTakeMs: { value: clone.takeMs },
  cacheTakeRatio: { value: clone.taken.value, high: clone.taken.high, bound: { most: 0.5 } },
  versionRatio: { value: version.value, high: version.high, bound: { most: 1.6 } },
  residentProcesses: { value: exec.residentProcesses, bound: { most: 0 } },
};

if (asJson) console.log(JSON.stringify(rows, null, 2));
else console.table(Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, shown(row)])));
process.exitCode = Object.values(rows).every(kept) ? 0 : 1;

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
