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

/**
 * Thread ids as this process sees them. A VMM in a pid namespace of its own tells them by that namespace's numbers.
 * @param pid of the VMM
 * @param told what it says: thread id by vCPU number
 */
export async function threadsOnHost(pid: number, told: ReadonlyMap<number, number>): Promise<Map<number, number>> {
  const here = new Map<number, number>();
  for (const thread of await readdir(`/proc/${pid}/task`).catch(() => [])) {
    const status = await readFile(`/proc/${pid}/task/${thread}/status`, 'latin1').catch(() => '');
    // The ids in all namespaces from ours inwards, the thread's own last (proc(5)).
    const inner = /^NSpid:.*?(\d+)$/m.exec(status)?.[1];
    here.set(Number(inner ?? thread), Number(thread));
  }
  return new Map(
    [...told].flatMap(([vcpu, thread]) => {
      const found = here.get(thread);
      return found === undefined ? [] : [[vcpu, found] as const];
    }),
  );
}
