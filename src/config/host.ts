import { closeSync, openSync, readSync } from 'node:fs';
import { availableParallelism, endianness } from 'node:os';
import { VmError } from '../errors.ts';

/** Architectures, as Kata Containers (and Go) name them. */
export type Arch = 'amd64' | 'arm64' | 'ppc64le' | 's390x';

/** Those that there are guests of. */
export type GuestArch = Extract<Arch, 'amd64' | 'arm64'>;

/** What configuration needs to know of the host. */
export interface HostFacts {
  readonly arch: Arch;
  /** CPUs this process may use. */
  readonly cpus: number;
  /** Physical memory, in MiB. */
  readonly memoryMiB: number;
  /** Whether the host is itself a VM, as far as its CPU flags tell. */
  readonly runningOnVmm: boolean;
  /** Effective user id. */
  readonly uid: number;
}

const PROC_MEMINFO = '/proc/meminfo';
const PROC_CPUINFO = '/proc/cpuinfo';
const READ_LIMIT_BYTES = 8 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** Flags of a CPU are the same as long as we run, and take longer to read than all else. */
let onVmm: boolean | undefined;

/**
 * Asks the host for all facts at once.
 * @throws {VmError} UNSUPPORTED when the architecture is none of ours; FILE_* when /proc can't be read
 */
export async function readHostFacts(): Promise<HostFacts> {
  const arch = hostArch();
  onVmm ??= await runningOnVmm(PROC_CPUINFO, arch);
  const memoryMiB = await hostMemoryMiB();
  return { arch, cpus: availableParallelism(), memoryMiB, runningOnVmm: onVmm, uid: process.geteuid?.() ?? 0 };
}

/**
 * This host's architecture.
 * @throws {VmError} UNSUPPORTED when it is none of {@link Arch}
 */
export function hostArch(nodeArch: string = process.arch): Arch {
  if (nodeArch === 'x64') return 'amd64';
  if (nodeArch === 'arm64' || nodeArch === 's390x') return nodeArch;
  if (nodeArch === 'ppc64' && endianness() === 'LE') return 'ppc64le';
  throw new VmError('UNSUPPORTED', `The architecture ${nodeArch} is not supported (amd64, arm64, ppc64le, s390x are)`);
}

/** Physical memory of the host in MiB, rounded down. Errors as for {@link getHostMemorySizeKb}. */
export async function hostMemoryMiB(memInfoPath: string = PROC_MEMINFO): Promise<number> {
  return Math.floor((await getHostMemorySizeKb(memInfoPath)) / 1024);
}

/**
 * Physical memory of the host in kB: the first readable `MemTotal: N kB` line of the file.
 * @throws {VmError} FILE_NOT_FOUND or FILE_UNREADABLE when the file can't be read; FILE_INVALID when it has no such line
 */
export async function getHostMemorySizeKb(memInfoPath: string = PROC_MEMINFO): Promise<number> {
  for (const line of readLines(memInfoPath)) {
    const [label, amount, unit] = wordsOf(line);
    if (label !== 'MemTotal:' || unit !== 'kB' || amount === undefined || !/^\d{1,15}$/.test(amount)) continue;
    return Number(amount);
  }
  throw new VmError('FILE_INVALID', `Unable to get MemTotal from ${memInfoPath}`, { path: memInfoPath });
}

/**
 * Whether the host is itself a virtual machine: the word `hypervisor` in the first line of CPU flags. Only amd64 says
 * so; the other architectures answer false without reading the file.
 * @throws {VmError} FILE_NOT_FOUND or FILE_UNREADABLE when the file can't be read; FILE_INVALID when it has no flags
 */
export async function runningOnVmm(cpuInfoPath: string = PROC_CPUINFO, arch: Arch = hostArch()): Promise<boolean> {
  if (arch !== 'amd64') return false;
  for (const line of readLines(cpuInfoPath)) {
    const [label, ...flags] = wordsOf(line);
    if (label === undefined || flags.length === 0 || !label.startsWith('flags')) continue;
    return flags.includes('hypervisor');
  }
  throw new VmError('FILE_INVALID', `Could not find the CPU flags in ${cpuInfoPath}`, { path: cpuInfoPath });
}

function wordsOf(line: string): string[] {
  return line.split(/\s+/).filter((word) => word !== '');
}

// Files of /proc have no size, and the path may be a caller's: read to the end, but not without end.
function readLines(path: string): string[] {
  try {
    const fd = openSync(path, 'r');
    try {
      const chunks: Buffer[] = [];
      for (let length = 0; length < READ_LIMIT_BYTES;) {
        const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
        const bytes = readSync(fd, buffer);
        if (bytes === 0) break;
        chunks.push(buffer.subarray(0, bytes));
        length += bytes;
      }
      return Buffer.concat(chunks).toString('utf8').split('\n');
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'UNKNOWN';
    const code = errno === 'ENOENT' || errno === 'ENOTDIR' ? 'FILE_NOT_FOUND' : 'FILE_UNREADABLE';
    throw new VmError(code, `Can't read ${path}: ${errno}`, { path, errno, cause });
  }
}
