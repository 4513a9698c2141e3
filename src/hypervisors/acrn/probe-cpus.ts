import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { VmError } from '../../errors.ts';

/*
 * acrn-dm wants the CPUs of a guest by the ids of their local APICs, which are not the numbers by which Linux knows them. Each vCPU
 * takes one; several guests may have the same, and the hypervisor's scheduler shares it.
 */

/** Where the CPUs of the host are told, and who uses them. */
export interface CpuHost {
  cpuinfo: string;
  /** ACPI's table of interrupt controllers, which also has CPUs that Linux does not run on */
  madt: string;
  proc: string;
}

export const hostCpus: CpuHost = { cpuinfo: '/proc/cpuinfo', madt: '/sys/firmware/acpi/tables/APIC', proc: '/proc' };

/**
 * The CPUs for a guest: those that were asked for, or the ones that the fewest guests use.
 * @throws {VmError} INVALID_CONFIG for an id that the host does not have, or too many vCPUs
 */
export async function chooseLapicIds(
  vcpus: number,
  chosen: readonly number[] | undefined,
  host: CpuHost = hostCpus,
): Promise<number[]> {
  const online = lapicIdsIn(await readFile(host.cpuinfo, 'utf8'));
  if (chosen !== undefined) {
    const all = new Set([...online, ...lapicIdsInMadt(await readFile(host.madt).catch(() => Buffer.alloc(0)))]);
    const unknown = chosen.filter((id) => !all.has(id));
    if (unknown.length === 0) return [...chosen];
    throw new VmError('INVALID_CONFIG', `the host has no CPU with the LAPIC id ${unknown.join(', ')}`, {
      field: 'hypervisorParams',
      advice: `It has ${[...all].toSorted((a, b) => a - b).join(', ')} (\`apicid\` in /proc/cpuinfo).`,
    });
  }
  if (vcpus > online.length)
    throw new VmError('INVALID_CONFIG', `${vcpus} vCPUs need as many CPUs, and the host has ${online.length}`, {
      field: 'vcpus',
    });
  const users = await usersOfCpus(host.proc);
  const byUse = online.toSorted((a, b) => (users.get(a) ?? 0) - (users.get(b) ?? 0) || a - b);
  return byUse.slice(0, vcpus).toSorted((a, b) => a - b);
}

/** LAPIC ids of the CPUs that Linux runs on. */
export function lapicIdsIn(cpuinfo: string): number[] {
  return [...cpuinfo.matchAll(/^apicid\s*:\s*(\d+)$/gm)].map(([, id]) => Number(id));
}

/** LAPIC ids of the CPUs that are enabled in a MADT (ACPI 6.4, 5.2.12: entries of type 0 and 9). */
export function lapicIdsInMadt(table: Buffer): number[] {
  const ids: number[] = [];
  for (let at = 44; at + 2 <= table.length;) {
    const [type, length] = [table[at] ?? 0, table[at + 1] ?? 0];
    if (length < 2 || at + length > table.length) break;
    if (type === 0 && length >= 8 && (table.readUInt32LE(at + 4) & 1) !== 0) ids.push(table[at + 3] ?? 0);
    if (type === 9 && length >= 16 && (table.readUInt32LE(at + 8) & 1) !== 0) ids.push(table.readUInt32LE(at + 4));
    at += length;
  }
  return ids;
}

/** How many guests use each CPU, as the command lines of all acrn-dm say, whoever started them. */
async function usersOfCpus(proc: string): Promise<Map<number, number>> {
  const guests = new Map<string, readonly number[]>();
  for (const pid of (await readdir(proc)).filter((name) => /^\d+$/.test(name))) {
    // One that ends meanwhile uses none any more.
    const words = (await readFile(path.join(proc, pid, 'cmdline'), 'utf8').catch(() => '')).split('\0').slice(0, -1);
    const ids = words[words.indexOf('--cpu_affinity') + 1];
    // The last word is the VM's name; the keeper of a VM has the same words.
    const name = words.at(-1);
    if (!words.includes('--cpu_affinity') || name === undefined || ids === undefined) continue;
    guests.set(name, ids.split(',').map(Number));
  }
  const users = new Map<number, number>();
  for (const id of [...guests.values()].flat()) users.set(id, (users.get(id) ?? 0) + 1);
  return users;
}
