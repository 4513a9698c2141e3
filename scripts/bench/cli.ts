import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { VmRecord } from '../../src/state/record.ts';
import { places, vmFiles } from '../../src/state/paths.ts';
import { VmStore } from '../../src/state/store.ts';
import { median } from './statistics.ts';

/** Median wall time of `polyvisor ls -a` with so many VMs that have ended, from the start of its process to its end. */
export function lsMs(entries: number): number {
  const home = mkdtempSync(path.join(tmpdir(), 'pvb-'));
  const env = { ...plainEnvironment(), POLYVISOR_HOME: home };
  const { vms } = places(env);
  try {
    for (let at = 0; at < entries; at++) writeRecord(path.join(vms, `vm-${at}`), at);
    const times = Array.from({ length: 11 }, () => {
      const started = performance.now();
      const { status, stdout } = spawnSync(process.execPath, ['bin/polyvisor.js', 'ls', '-a', '-q'], { env });
      if (status !== 0 || stdout.toString().split('\n').length !== entries + 1)
        throw new Error('ls does not list them');
      return performance.now() - started;
    });
    return median(times);
  } finally {
    rmSync(home, { recursive: true });
  }
}

function writeRecord(folder: string, at: number): void {
  const id = at.toString(16).padStart(12, '0');
  const vmm = { pid: 4242, startTime: 1, bootId: '00000000-0000-4000-8000-000000000000' };
  const record: VmRecord = {
    schema: 1,
    id,
    name: path.basename(folder),
    hypervisor: 'qemu',
    createdAt: new Date().toISOString(),
    status: 'stopped',
    detached: true,
    runtimeFolder: `/tmp/${id}`,
    vmm,
    accel: 'tcg',
    image: 'debian',
    vcpus: 1,
    memoryMiB: 2048,
    driver: { schema: 1, binary: '/usr/bin/qemu-system-x86_64', process: vmm },
    ended: { at: new Date().toISOString(), exitCode: 0, reason: 'guest-shutdown' },
  };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(vmFiles.state(folder), JSON.stringify(record, undefined, 2));
}

/** Without what Node reads because it is told to, such as certificates: that takes longer than our command, whatever Node runs. */
function plainEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, NODE_EXTRA_CA_CERTS: undefined, NODE_OPTIONS: undefined };
}

/**
 * Processor time of `polyvisor run -- true` and all that it starts but QEMU, in ms: the median of some runs. QEMU's own is
 * looked at until it is gone, so that what the kernel needs to clear it away counts as ours: the true figure is lower.
 */
export async function cliRunCpuMs(runs: number): Promise<number> {
  const costs: number[] = [];
  for (let at = 0; at < runs; at++) {
    const name = `bench-${process.pid}-${at}`;
    const before = childrenMs();
    const words = ['run', '-q', '--name', name, '-m', '512M', '--', 'true'];
    const child = spawn(process.execPath, ['bin/polyvisor.js', ...words], {
      env: plainEnvironment(),
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const ended = once(child, 'close');
    const vmmMs = await vmmCpuMs(name, ended);
    const [code] = (await ended) as [number];
    if (code !== 0) throw new Error(`polyvisor run ended with ${code}`);
    costs.push(childrenMs() - before - vmmMs);
  }
  return median(costs);
}

/** The processor time of a VM's VMM, as it was when it was last seen. */
async function vmmCpuMs(name: string, ended: Promise<unknown>): Promise<number> {
  const store = new VmStore();
  const over = new AbortController();
  void ended.then(() => over.abort());
  let [pid, ms] = [0, 0];
  while (!over.signal.aborted) {
    if (pid === 0) pid = (await store.read(name).catch(() => undefined))?.vmm?.pid ?? 0;
    else ms = processMs(pid) ?? ms;
    await delay(pid === 0 ? 20 : 2);
  }
  return ms;
}

/** Processor time of a process and its threads; undefined when it is gone. */
function processMs(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return ticksMs(stat, 11) + ticksMs(stat, 12);
  } catch {
    return undefined;
  }
}

/** Processor time of our children that have ended, theirs included. */
function childrenMs(): number {
  const stat = readFileSync('/proc/self/stat', 'latin1');
  return ticksMs(stat, 13) + ticksMs(stat, 14);
}

/** A field of a stat file, counted from the one after the name, in ticks of 10 ms (proc(5)). */
function ticksMs(stat: string, at: number): number {
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[at]) * 10;
}
