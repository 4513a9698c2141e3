import { readdirSync, readFileSync } from 'node:fs';

/** Processes, this one aside, that have one of these texts in their environment or their arguments. */
export function processesWith(...texts: readonly string[]): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid)
    .filter((pid) =>
      ['environ', 'cmdline'].some((file) => texts.some((text) => read(`/proc/${pid}/${file}`).includes(text))),
    );
}

/** Empty for a process that has ended meanwhile, or is another user's. */
function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
