import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Vm } from '../../src/sandbox/vm.ts';
import { machine } from './cold-boot.ts';
import { median } from './statistics.ts';

const MEBIBYTES = 64;
const ROUNDS = 7;

export interface CopyFigures {
  /** one file of random bytes from this host's disk into the guest's memory */
  copyInMiBps: number;
  /** the same file back */
  copyOutMiBps: number;
}

/** Copies a file in and out in turn; the first round, in which the guest's kernel is translated, does not count. */
export async function copyFigures(): Promise<CopyFigures> {
  const folder = mkdtempSync(path.join(tmpdir(), 'pvb-'));
  const vm = await Vm.create(machine);
  try {
    const [there, back] = [path.join(folder, 'there'), path.join(folder, 'back')];
    writeFileSync(there, randomBytes(MEBIBYTES * 2 ** 20));
    const rates: Record<'in' | 'out', number[]> = { in: [], out: [] };
    for (let round = 0; round <= ROUNDS; round++) {
      const into = await rate(() => vm.copyIn(there, '/tmp/copied'));
      const out = await rate(() => vm.copyOut('/tmp/copied', back));
      if (round === 0) continue;
      rates.in.push(into);
      rates.out.push(out);
    }
    return { copyInMiBps: median(rates.in), copyOutMiBps: median(rates.out) };
  } finally {
    await vm.remove();
    rmSync(folder, { recursive: true });
  }
}

async function rate(copy: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await copy();
  return MEBIBYTES / ((performance.now() - started) / 1000);
}
