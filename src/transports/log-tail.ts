import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** How much of a log `tail` answers at most. */
export interface TailLimits {
  /** default 20 */
  lines?: number | undefined;
  /** default 8192, counted before anything is stripped */
  bytes?: number | undefined;
}

// Sequences that steer a terminal: CSI (colours, cursor), OSC and its kin up to their end, and two-byte escapes.
// eslint-disable-next-line no-control-regex
const escapes = /\u001b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])?/g;
// What is left of C0 and C1 controls, and format characters, some of which turn the direction of text around.
const controls = /(?![\n\t])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu;

/** The text without anything that could steer a terminal or hide what it says; line feeds and tabs stay. */
export function printable(text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll(escapes, '').replaceAll('\r', '\n').replaceAll(controls, '');
}

/**
 * The last lines of a log, printable. Empty when there is no such file, or it is no ordinary file: what lies in a VMM's
 * folder was put there by the VMM, so links are not followed and a FIFO is not waited for. Never throws.
 */
export async function tail(file: string, limits: TailLimits = {}): Promise<string> {
  const { lines = 20, bytes = 8192 } = limits;
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) return '';
      const start = Math.max(0, stat.size - bytes);
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(bytes, stat.size)), 0, undefined, start);
      const text = buffer.subarray(0, bytesRead).toString('utf8');
      const all = printable(text)
        .split('\n')
        .map((line) => line.trimEnd())
        .filter((line) => line !== '');
      // A line that was cut at its front says nothing, unless it is the only one.
      if (start > 0 && all.length > 1) all.shift();
      return all.slice(-lines).join('\n');
    } finally {
      await handle.close();
    }
  } catch {
    return '';
  }
}
