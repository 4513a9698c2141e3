import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { Vm } from '../../src/sandbox/vm.ts';
import { machine } from './cold-boot.ts';
import { processesWith } from './resident.ts';
import { median } from './statistics.ts';

export interface ExecFigures {
  /** one command over a held connection, in ms */
  execP50Ms: number;
  /** one `polyvisor exec`, from its start to its end, in ms */
  cliExecP50Ms: number;
  /** output of one guest command, as it arrives */
  stdoutMiBps: number;
  /** processes beside the VMM's that a detached machine keeps */
  residentProcesses: number;
}

/** All that is measured on one running machine. It is detached: the figures are those of the barest case. */
export async function execFigures(): Promise<ExecFigures> {
  const mark = `bench-${randomUUID()}`;
  process.env['POLYVISOR_BENCH'] = mark;
  const vm = await Vm.create({ ...machine, detached: true });
  try {
    const execs: number[] = [];
    for (let at = 0; at < 200; at++) execs.push(await timed(() => vm.exec(['true'], { check: true })));
    const rates: number[] = [];
    for (let at = 0; at < 5; at++) rates.push(await stdoutRate(vm, 64));
    const clis: number[] = [];
    for (let at = 0; at < 15; at++) clis.push(await timed(() => cliExec(vm.name)));
    return {
      execP50Ms: median(execs.slice(20)),
      cliExecP50Ms: median(clis),
      stdoutMiBps: median(rates),
      // The VMM itself is one of them; its environment is empty, but its arguments name the machine.
      residentProcesses: processesWith(mark, vm.id).length - 1,
    };
  } finally {
    await vm.remove();
  }
}

async function timed(call: () => unknown): Promise<number> {
  const started = performance.now();
  await call();
  return performance.now() - started;
}

function cliExec(name: string): void {
  const { status } = spawnSync(process.execPath, ['bin/polyvisor.js', 'exec', name, '--', 'true'], {
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error(`polyvisor exec ended with ${status}`);
}

async function stdoutRate(vm: Vm, mebibytes: number): Promise<number> {
  let bytes = 0;
  const ms = await timed(async () => {
    for await (const { stream, data } of vm.exec(['dd', 'if=/dev/zero', 'bs=64k', `count=${mebibytes * 16}`])) {
      if (stream === 'stdout') bytes += data.length;
    }
  });
  if (bytes !== mebibytes << 20) throw new Error(`${bytes} bytes arrived of ${mebibytes} MiB`);
  return mebibytes / (ms / 1000);
}
