import { readFile } from 'node:fs/promises';
import { VmError } from '../errors.ts';
import { isAlive, type ProcessIdentity } from '../state/process-identity.ts';

/** What a virtual disk has read and written since the VMM started. */
export interface DiskStatistics {
  id: string;
  readBytes: number;
  writtenBytes: number;
  readOperations: number;
  writeOperations: number;
}

/** What a network interface of the guest has received and sent since the VMM started. */
export interface NetworkStatistics {
  id: string;
  receivedBytes: number;
  sentBytes: number;
  receivedPackets: number;
  sentPackets: number;
}

/** What a VMM uses of the host, since it started. */
export interface VmmStatistics {
  pid: number;
  /** processor time of all its threads, in user and system mode */
  cpuTimeMs: number;
  /** memory of the host that it holds now, the guest's included */
  residentBytes: number;
  threads: number;
  /** empty when the VMM does not tell which of its threads are vCPUs */
  vcpus: { index: number; threadId: number; cpuTimeMs: number }[];
  /** memory that the guest can use now: plugged memory counts, what its balloon holds does not; absent when the VMM does not tell */
  guestMemoryBytes?: number | undefined;
  /** absent when the driver has no counters */
  disks?: DiskStatistics[] | undefined;
  /** absent when the driver has no counters */
  networks?: NetworkStatistics[] | undefined;
}

/** The kernel counts processor time for us in ticks of 10 ms on every architecture (USER_HZ, proc(5)). */
const tickMs = 10;

/**
 * What a process uses, as the kernel counts it.
 * @param vcpuThreads thread id by vCPU number
 * @throws {VmError} VMM_GONE
 */
export async function processStatistics(
  process: ProcessIdentity | undefined,
  vcpuThreads: ReadonlyMap<number, number>,
): Promise<VmmStatistics> {
  if (process === undefined || !isAlive(process)) throw gone();
  const folder = `/proc/${process.pid}`;
  try {
    const [stat, status] = await Promise.all([
      readFile(`${folder}/stat`, 'latin1'),
      readFile(`${folder}/status`, 'latin1'),
    ]);
    const vcpus = await Promise.all(
      [...vcpuThreads].map(async ([index, threadId]) => {
        const text = await readFile(`${folder}/task/${threadId}/stat`, 'latin1').catch(ifGone);
        return text === undefined ? undefined : { index, threadId, cpuTimeMs: cpuTimeMs(text) };
      }),
    );
    return {
      pid: process.pid,
      cpuTimeMs: cpuTimeMs(stat),
      residentBytes: figure(status, 'VmRSS') * 1024,
      threads: figure(status, 'Threads'),
      vcpus: vcpus.filter((vcpu) => vcpu !== undefined),
    };
  } catch (error) {
    if (!isAlive(process)) throw gone(error);
    throw new VmError('IO', `cannot read the figures of process ${process.pid}`, { path: folder, cause: error });
  }
}

/** Fields 14 and 15 of a stat file: time in user and in system mode (proc(5)). */
function cpuTimeMs(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * tickMs;
}

function figure(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
}

/** A vCPU may be unplugged between the question for its thread and the look at it. */
function ifGone(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT' && error.code !== 'ESRCH') throw error;
}

function gone(cause?: unknown): VmError {
  return new VmError('VMM_GONE', 'the VMM does not run any more', { operation: 'statistics', cause });
}
