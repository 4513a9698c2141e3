import type { FileHandle } from 'node:fs/promises';
import { vmFiles } from '../state/paths.ts';
import { VmStore } from '../state/store.ts';
import { readLog } from '../transports/log-follow.ts';
import { markedLines, startOfLastLines, startOfMarkedLines, startOfTime } from '../transports/log-lines.ts';
import { waitGone } from '../transports/process/wait-gone.ts';
import { describeVm } from './inspect.ts';

/** Whose words a log holds. `agent` is what polyvisor's agent says on the guest's console. */
export type LogSource = 'console' | 'vmm' | 'agent';

/** Which part of a log is read. */
export interface LogOptions {
  /** default `console` */
  source?: LogSource | undefined;
  /** the last lines only; all by default */
  lines?: number | undefined;
  /**
   * Leaves out what is surely older. Lines of VMM and agent tell their time; any other one counts as new as the next one that does
   * or, after the last of these, as the file.
   */
  since?: Date | undefined;
  /** go on with what comes until the VM has ended; default false */
  follow?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** What the agent's lines on a console begin with, after their time. */
const agentMark = 'polyvisor-agent: ';

/**
 * The file of a VM's log.
 * @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME
 */
export async function logPath(name: string, source: LogSource): Promise<string> {
  const store = new VmStore();
  if (source !== 'vmm') return (await describeVm(store, name)).console.log;
  await store.read(name);
  return vmFiles.vmmLog(store.folder(name));
}

/**
 * A log of a VM, running or not, as it was written: it may hold anything that a guest can write.
 * @throws {VmError} NOT_FOUND, STATE_INVALID, INVALID_NAME, IO; whatever the signal says
 */
export async function* vmLog(name: string, options: LogOptions = {}): AsyncGenerator<Buffer, void, undefined> {
  const { source = 'console', lines, since, follow = false, signal } = options;
  const file = await logPath(name, source);
  const ofAgent = source === 'agent';
  const startOfLast = (log: FileHandle, count: number): Promise<number> =>
    ofAgent ? startOfMarkedLines(log, count, agentMark) : startOfLastLines(log, count);
  const over = new AbortController();
  try {
    const pieces = readLog(file, {
      until: follow ? ending(name, over.signal) : undefined,
      signal,
      startAt: async (log) =>
        Math.max(
          since === undefined ? 0 : await startOfTime(log, since),
          lines === undefined ? 0 : await startOfLast(log, lines),
        ),
    });
    yield* ofAgent ? markedLines(pieces, agentMark) : pieces;
  } finally {
    over.abort();
  }
}

/** Settles when the VM has ended, or nobody waits for it any more. */
async function ending(name: string, signal: AbortSignal): Promise<void> {
  const { vmm } = await new VmStore().read(name);
  if (vmm !== undefined) await waitGone(vmm, { signal });
}
