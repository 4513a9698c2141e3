import { Vm } from '../../src/sandbox/vm.ts';
import { bareStarter } from './bare.ts';
import { machine } from './cold-boot.ts';
import { ratio, type Estimate } from './statistics.ts';

/** So many VMs at once, from `create` to the end of the first command of the last one, against as many bare QEMUs. */
export async function parallelBoot(count: number, pairs: number, report: (line: string) => void): Promise<Estimate> {
  const start = await bareStarter(machine);
  const ours = (): Promise<number> =>
    timed(count, async () => {
      const vm = await Vm.create(machine);
      await vm.exec(['true'], { check: true });
      return () => vm.remove();
    });
  const bare = (): Promise<number> =>
    timed(count, async () => {
      const vm = await start();
      await vm.agent.exec(['true'], { check: true });
      return () => vm.end();
    });
  const walls: (readonly [number, number])[] = [];
  for (let at = 0; at < pairs; at++) {
    const first = at % 2 === 0 ? await ours() : await bare();
    const second = at % 2 === 0 ? await bare() : await ours();
    const pair = at % 2 === 0 ? ([first, second] as const) : ([second, first] as const);
    walls.push(pair);
    report(`${count} at once ${at + 1}/${pairs}: ${pair[0].toFixed(0)} ms, bare ${pair[1].toFixed(0)} ms`);
  }
  return ratio(walls);
}

async function timed(count: number, boot: () => Promise<() => Promise<void>>): Promise<number> {
  const started = performance.now();
  const booted = await Promise.allSettled(Array.from({ length: count }, boot));
  const wallMs = performance.now() - started;
  await Promise.all(booted.flatMap((one) => (one.status === 'fulfilled' ? [one.value()] : [])));
  for (const one of booted) if (one.status === 'rejected') throw one.reason;
  return wallMs;
}
