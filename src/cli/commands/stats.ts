import { type Command, Option } from 'commander';
import type { Vm } from '../../sandbox/vm.ts';
import { newCommand } from '../command.ts';
import { interruptible } from '../interrupts.ts';
import { timeMs } from '../option-values.ts';
import { isLively, print } from '../output.ts';
import { table } from '../table.ts';
import { mebibytes } from '../units.ts';

interface StatsFlags {
  stream: boolean;
  interval?: number;
  json?: boolean;
}

type Statistics = Awaited<ReturnType<Vm['statistics']>>;

const headings = ['NAME', 'CPU %', 'CPU TIME', 'HOST MEMORY', 'THREADS', 'GUEST MEMORY', 'GUEST PROCESSES', 'PID'];

/** `polyvisor stats` */
export function stats(): Command {
  return newCommand('stats', 'Shows what running VMs use, over and over; once where no terminal shows it.', [
    'stats',
    'stats --no-stream --json web',
  ])
    .argument('[name...]', 'names of VMs (default: all that run)')
    .option('--no-stream', 'show it once')
    .addOption(new Option('--interval <time>', 'between two samples (default: 1s)').argParser(timeMs))
    .option('--json', 'print a JSON object on a line for each sample of a VM; goes on until it is interrupted')
    .action((names: string[], flags: StatsFlags) =>
      interruptible(async (interrupts) => {
        interrupts.endWithReader();
        const vms = await opened(names);
        try {
          await show(vms, flags, interrupts.signal);
        } finally {
          await Promise.all(vms.map((vm) => vm.close()));
        }
      }),
    );
}

/** A guest tells its figures on a channel of its own; where none is free in a moment, those of the host must do. */
async function opened(names: readonly string[]): Promise<Vm[]> {
  const { Vm: library } = await import('../../sandbox/vm.ts');
  const running = async (): Promise<string[]> =>
    (await library.list()).filter(({ status }) => status === 'running' || status === 'paused').map(({ name }) => name);
  const asked = names.length > 0 ? names : await running();
  return Promise.all(
    asked.map((name) => library.connect(name, { timeoutMs: channelMs }).catch(() => library.open(name))),
  );
}

/** Milliseconds until a guest's figures are done without. */
const channelMs = 1000;

async function show(vms: readonly Vm[], flags: StatsFlags, signal: AbortSignal): Promise<void> {
  const lively = isLively(process.stdout) && flags.json !== true;
  const forever = flags.stream && (lively || flags.json === true);
  const intervalMs = flags.interval ?? 1000;
  const watches = vms.map((vm) => vm.watchStatistics({ intervalMs, signal }));
  let living = watches;
  while (living.length > 0) {
    const samples = await Promise.all(living.map((watch) => watch.next()));
    const rows = samples.flatMap(({ value }) => (value === undefined ? [] : [value as Statistics]));
    living = living.filter((_, at) => samples[at]?.done !== true);
    if (flags.json === true) rows.forEach((row) => print(JSON.stringify(row)));
    else if (rows.length > 0 || !forever)
      print(`${lively && forever ? '\u001B[H\u001B[J' : ''}${statisticsTable(rows)}`);
    if (!forever) break;
  }
  for (const watch of watches) await watch.return?.();
}

/** What VMs use, as a table. */
export function statisticsTable(rows: readonly Statistics[]): string {
  return table(
    headings,
    rows.map(({ name, vmm, guest, cpuPercent }) => [
      name,
      cpuPercent === undefined ? '' : cpuPercent.toFixed(1),
      `${(vmm.cpuTimeMs / 1000).toFixed(1)}s`,
      mebibytes(vmm.residentBytes),
      `${vmm.threads}`,
      guest === undefined
        ? ''
        : `${mebibytes(guest.memoryTotalBytes - guest.memoryAvailableBytes)} / ${mebibytes(guest.memoryTotalBytes)}`,
      guest === undefined ? '' : `${guest.processes}`,
      `${vmm.pid}`,
    ]),
  );
}
