import { Vm } from '../../src/sandbox/vm.ts';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';
import { bareStarter, type BareVm } from './bare.ts';
import { median, ratio, type Estimate } from './statistics.ts';

/** The machine that everything here is measured with. */
export const machine: VmOptions = { hypervisor: 'qemu', vcpus: 1, memoryMiB: 512 };

export interface ColdBoot {
  /** from `create` to the end of the first command, against the same by hand */
  ratio: Estimate;
  /** median, in ms */
  wallMs: number;
  /** median of the CPU time that this process spent on one of our boots, in ms */
  cpuMs: number;
}

/** Boots ours and a bare one in turn; which comes first alternates, so that neither always finds a warmer host. */
export async function coldBoot(pairs: number, report: (line: string) => void): Promise<ColdBoot> {
  const startBare = await bareStarter(machine);
  const cpu: number[] = [];
  const walls: (readonly [number, number])[] = [];
  await ours([]);
  await bare(startBare);
  for (let at = 0; at < pairs; at++) {
    const first = at % 2 === 0 ? await ours(cpu) : await bare(startBare);
    const second = at % 2 === 0 ? await bare(startBare) : await ours(cpu);
    const pair = at % 2 === 0 ? ([first, second] as const) : ([second, first] as const);
    walls.push(pair);
    report(`cold boot ${at + 1}/${pairs}: ${pair[0].toFixed(0)} ms, bare ${pair[1].toFixed(0)} ms`);
  }
  return { ratio: ratio(walls), wallMs: median(walls.map(([it]) => it)), cpuMs: median(cpu) };
}

async function ours(cpu: number[]): Promise<number> {
  const [started, before] = [performance.now(), process.cpuUsage()];
  const vm = await Vm.create(machine);
  try {
    await vm.exec(['true'], { check: true });
    const { user, system } = process.cpuUsage(before);
    cpu.push((user + system) / 1000);
    return performance.now() - started;
  } finally {
    await vm.remove();
  }
}

async function bare(start: () => Promise<BareVm>): Promise<number> {
  const started = performance.now();
  const vm = await start();
  try {
    await vm.agent.exec(['true'], { check: true });
    return performance.now() - started;
  } finally {
    await vm.end();
  }
}

/**
 * What the guest executes from its first instruction until its first command, in ms of a processor that does one
 * instruction per ns. Counted by QEMU, so nearly the same on every host: it shows what a change costs. The least of a few
 * boots: a host that answers late only ever adds to it.
 */
export async function guestBootInstructionsMs(boots: number): Promise<number> {
  const start = await bareStarter({ ...machine, accel: 'tcg' }, (argv) => [
    ...argv.map((it) => (it === 'tcg,thread=multi' ? 'tcg,thread=single' : it)),
    ...['-icount', 'shift=0,sleep=off'],
  ]);
  const counts: number[] = [];
  for (let at = 0; at < boots; at++) {
    const vm = await start();
    try {
      // `now at 761233379 nsecs` since the boot
      const { stdout } = await vm.agent.exec(['grep', '^now at', '/proc/timer_list'], { check: true });
      counts.push(Number(stdout.split(' ')[2]) / 1e6);
    } finally {
      await vm.end();
    }
  }
  return Math.min(...counts);
}
