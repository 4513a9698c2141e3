import { open } from 'node:fs/promises';
import { constants } from 'node:os';

/** How a process ended: with a code, or by a signal. Neither when nobody could tell. */
export interface ProcessExit {
  /** 0 to 128; a program that itself ends with more reads as a signal, as in every shell */
  code?: number | undefined;
  signal?: NodeJS.Signals | undefined;
  /** `lease`: ended because its owner was gone; `end`: because the keeper was told to; `keeper-lost`: by us, as nobody guarded it any more */
  by?: 'lease' | 'end' | 'keeper-lost' | undefined;
}

/** Reads what the keeper wrote: `code N` or `signal N`, and `by lease` or `by end` where it did it. */
export function parseExit(text: string): ProcessExit | undefined {
  const [, kind, digits, by] = /^(code|signal) (\d{1,3})(?: by (lease|end))?\s*$/.exec(text) ?? [];
  if (kind === undefined) return undefined;
  const number = Number(digits);
  const exit: ProcessExit = kind === 'code' ? { code: number } : withSignal(number);
  return by === undefined ? exit : { ...exit, by: by as 'lease' | 'end' };
}

/** The exit that a keeper wrote down; undefined when there is none, or none that can be read. */
export async function readExit(file: string): Promise<ProcessExit | undefined> {
  return (await readExitAt(file))?.exit;
}

/** The same, and when it was written down. The file may go at any moment: its VM may be removed. */
export async function readExitAt(file: string): Promise<{ exit: ProcessExit; at: Date } | undefined> {
  const handle = await open(file).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const exit = parseExit(await handle.readFile('utf8'));
    return exit && { exit, at: (await handle.stat()).mtime };
  } finally {
    await handle.close();
  }
}

function withSignal(number: number): ProcessExit {
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return name === undefined ? { code: 128 + number } : { signal: name as NodeJS.Signals };
}
