import { readdirSync, readFileSync } from 'node:fs';

/** Processes, this one aside, that were started with this text in their environment or their arguments. */
export function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) => ['environ', 'cmdline'].some((file) => read(`/proc/${pid}/${file}`).includes(text)));
}

/** Empty for a process that has ended meanwhile, or is another user's. */
function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
