import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { Vm } from '../../src/sandbox/vm.ts';
import { lsMs } from './cli.ts';
import { machine } from './cold-boot.ts';
import { parallelBoot } from './parallel.ts';
import { median } from './statistics.ts';

const rounds = 5;

/** Tables of docs/performance.md, "How it grows": what each figure becomes with more of what it is about. */
export async function growth(report: (line: string) => void): Promise<Record<string, object[]>> {
  const listed = [10, 100, 1000].map((entries) => ({ entries, ms: Math.round(lsMs(entries)) }));
  const booted: object[] = [];
  for (const count of [1, 2, 4, 8]) {
    const { value } = await parallelBoot(count, rounds, report);
    booted.push({ count, againstBare: value.toFixed(2) });
  }
  const copied: object[] = [];
  await using vm = await Vm.create({ ...machine, memoryMiB: 1024 });
  for (const mebibytes of [1, 4, 16, 64, 256])
    copied.push(await copyOf(vm, `${mebibytes} MiB in 1 file`, 1, mebibytes));
  for (const files of [10, 100, 1000, 10_000])
    copied.push(await copyOf(vm, `${files} files of 4 KiB`, files, files / 256));
  return { listed, booted, copied };
}

/** Medians of copying a folder in and out, in ms and in MiB/s. */
async function copyOf(vm: Vm, what: string, files: number, mebibytes: number): Promise<object> {
  const folder = mkdtempSync(path.join(tmpdir(), 'pvb-'));
  const [there, back] = [path.join(folder, 'there'), path.join(folder, 'back')];
  try {
    mkdirSync(there);
    for (let at = 0; at < files; at++)
      writeFileSync(path.join(there, `${at}`), randomBytes((mebibytes / files) * 2 ** 20));
    const [into, out]: [number[], number[]] = [[], []];
    for (let round = 0; round <= rounds; round++) {
      const inMs = await timed(() => vm.copyIn(there, '/tmp/copied'));
      const outMs = await timed(() => vm.copyOut('/tmp/copied', back));
      await vm.exec(['rm', '-r', '/tmp/copied'], { check: true });
      rmSync(back, { recursive: true });
      if (round === 0) continue;
      into.push(inMs);
      out.push(outMs);
    }
    const [inMs, outMs] = [median(into), median(out)];
    const rate = (ms: number): string => (mebibytes / (ms / 1000)).toFixed(mebibytes < 1 ? 1 : 0);
    return { what, inMs: Math.round(inMs), outMs: Math.round(outMs), inMiBps: rate(inMs), outMiBps: rate(outMs) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
