import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach } from 'vitest';
import type { LaunchOptions } from '../../../../src/transports/process/launch.ts';

/** Every shell that /bin/sh is on some distribution. */
export const shells = { dash: ['/bin/dash'], bash: ['/bin/bash', '--posix'], busybox: ['/bin/busybox', 'sh'] } as const;

/** A folder for each test, with the options of a launch in it. */
export interface Workspace {
  readonly folder: string;
  file(name: string): string;
  read(name: string): string;
  options(argv: readonly string[], more?: Partial<LaunchOptions>): LaunchOptions;
}

export function workspace(): Workspace {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-keeper-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const file = (name: string): string => path.join(folder, name);
  return {
    get folder() {
      return folder;
    },
    file,
    read: (name) => readFileSync(file(name), 'utf8'),
    options: (argv, more = {}) => ({
      argv,
      lease: file('lease'),
      alive: file('alive'),
      exitFile: file('exit'),
      startFile: file('start'),
      stdout: file('log'),
      stderr: file('log'),
      ...more,
    }),
  };
}

/** Pids of all living processes whose command line or environment names the text, or that were started by one such. */
export function pidsNaming(text: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        if (/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))) return false;
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(text);
      } catch {
        return false;
      }
    });
}

/** Looks until it is so: for what other processes do, of which no event tells. */
export async function until(what: string, isSo: () => boolean, timeoutMs = 5000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`not in ${timeoutMs} ms: ${what}`);
    await delay(5);
  }
}

const owners = {
  launches: new URL('owner.ts', import.meta.url),
  begins: new URL('early-owner.ts', import.meta.url),
} as const;

/** Starts an owner; `next` answers its next line of output. @param what it launches a program, or only begins a keeper */
export function startOwner(
  options: LaunchOptions,
  what: keyof typeof owners = 'launches',
): { process: ChildProcess; next(): Promise<string> } {
  const script = fileURLToPath(owners[what]);
  const owner = spawn(process.execPath, ['--import', 'tsx', script, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: owner.stdout })[Symbol.asyncIterator]();
  return { process: owner, next: async () => String((await lines.next()).value) };
}
