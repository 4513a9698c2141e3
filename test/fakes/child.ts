import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { VmOptions } from '../../src/sandbox/vm-options.ts';

/** What owner.ts says of the VM that it has created. */
export interface OwnedVm {
  name: string;
  id: string;
  pid: number;
  folders: { state: string; runtime: string };
}

/** A process that owns a VM. */
export interface Owner {
  readonly process: ChildProcess;
  /** Resolves when the owner reports that phase; rejects when it ends before. */
  phase(name: string): Promise<void>;
  /** Resolves when the VM is there. */
  created(): Promise<OwnedVm>;
  /** Sends SIGKILL and waits until the process is gone. */
  kill(): Promise<void>;
  /** Waits until the process has ended by itself; answers its exit code. */
  ended(): Promise<number | null>;
}

/** Starts owner.ts as a process of its own. */
export function startOwner(options: VmOptions, then?: 'close' | 'exit' | 'throw'): Owner {
  return startProgram('owner.ts', [JSON.stringify(options), ...(then === undefined ? [] : [then])]);
}

/** Starts adopter.ts as a process of its own: it takes over the VM of that name. */
export function startAdopter(name: string): Owner {
  return startProgram('adopter.ts', [name]);
}

/** Starts frequent-owner.ts as a process of its own: it has the next VM staged ahead, and ends then if it is told so. */
export function startFrequentOwner(then?: 'end' | 'exit'): Owner {
  return startProgram('frequent-owner.ts', then === undefined ? [] : [then]);
}

/** Starts taker.ts as a process of its own: it takes a VM from a cache server. Told to `ask`, it goes no further. */
export function startTaker(endpoint: string, then: 'hold' | 'ask'): Owner {
  return startProgram('taker.ts', [endpoint, then]);
}

/** Starts cache-server.ts as a process of its own: it serves a cache of the mock. */
export function startCacheServer(endpoint: string, cache: number): Owner {
  return startProgram('cache-server.ts', [endpoint, `${cache}`]);
}

/** Starts template-maker.ts as a process of its own: it makes a template of the mock, and hangs at that operation. */
export function startTemplateMaker(operation: string): Owner {
  return startProgram('template-maker.ts', [operation]);
}

function startProgram(file: string, words: readonly string[]): Owner {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const find = async <T>(fits: (line: Partial<OwnedVm> & { phase?: string }) => boolean): Promise<T> => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) throw new Error('the owner ended too early');
      const line = JSON.parse(value) as Partial<OwnedVm> & { phase?: string };
      if (fits(line)) return line as T;
    }
  };
  return {
    process: child,
    phase: async (name) => void (await find((line) => line.phase === name)),
    created: () => find<OwnedVm>((line) => line.pid !== undefined),
    kill: async () => {
      child.kill('SIGKILL');
      await closed;
    },
    ended: async () => {
      await closed;
      return child.exitCode;
    },
  };
}

/** Looks until it is so: for what other processes do, of which no event tells. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not in ${timeoutMs} ms: ${what}`);
    await delay(20);
  }
}

/** Command lines, by pid, of the living processes whose command line or environment holds the text; zombies are dead. */
export function processesNaming(text: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const pid of readdirSync('/proc').map(Number).filter(Number.isInteger)) {
    try {
      if (/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))) continue;
      const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
      if (line.includes(text) || environment.includes(text)) found.set(pid, line.replaceAll('\0', ' '));
    } catch {
      // gone, or not ours to look at
    }
  }
  return found;
}

/** A process' arguments as the kernel shows them. */
export function commandLine(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
}
