import { readdirSync, readFileSync } from 'node:fs';

/** A living process as /proc/PID/stat shows it. */
export interface LivingProcess {
  pid: number;
  parent: number;
  group: number;
  /** Foreground group of its terminal; -1 without a terminal. */
  foreground: number;
  name: string;
}

function living(): LivingProcess[] {
  const found: LivingProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    let stat: string;
    try {
      stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
    } catch {
      continue;
    }
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const [state, parent, group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') continue;
    found.push({
      pid: Number(entry),
      parent: Number(parent),
      group: Number(group),
      foreground: Number(foreground),
      name,
    });
  }
  return found;
}

/** All living descendants of a process, itself not counted. */
export function descendants(pid: number): LivingProcess[] {
  const all = living();
  const inside = new Set([pid]);
  for (let before = 0; before !== inside.size;) {
    before = inside.size;
    for (const it of all) if (inside.has(it.parent)) inside.add(it.pid);
  }
  inside.delete(pid);
  return all.filter((it) => inside.has(it.pid));
}

/** Whether a process is there and no zombie. */
export function isLiving(pid: number): boolean {
  return living().some((it) => it.pid === pid);
}
