import { createInterface } from 'node:readline/promises';
import { VmError } from '../errors.ts';

/**
 * Asks on the terminal whether to go on; only a yes counts.
 * @throws {VmError} INVALID_ARGUMENT when there is no terminal to ask on
 */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new VmError('INVALID_ARGUMENT', 'there is no terminal to ask on whether to remove them', {
      advice: 'Look with --dry-run first, then use --force.',
    });
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // The end of input is no yes either.
  const ended = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
  try {
    const answer = await Promise.race([lines.question(`${question} [y/N] `), ended]);
    return /^\s*y(es)?\s*$/i.test(answer);
  } finally {
    lines.close();
  }
}
