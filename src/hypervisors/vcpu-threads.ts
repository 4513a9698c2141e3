import { readdir, readFile } from 'node:fs/promises';

/**
 * Thread ids of a process by vCPU number, as the names of its threads tell.
 * @param pattern its first group is the vCPU's number
 */
export async function vcpuThreads(pid: number, pattern: RegExp): Promise<Map<number, number>> {
  const found: [vcpu: number, thread: number][] = [];
  for (const thread of await readdir(`/proc/${pid}/task`)) {
    const name = await readFile(`/proc/${pid}/task/${thread}/comm`, 'utf8').catch(() => '');
    const vcpu = pattern.exec(name.trim())?.[1];
    if (vcpu !== undefined) found.push([Number(vcpu), Number(thread)]);
  }
  return new Map(found.toSorted(([a], [b]) => a - b));
}
