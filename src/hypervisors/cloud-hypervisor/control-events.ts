import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { ProcessIdentity } from '../../state/process-identity.ts';
import { type LogReading, readLog } from '../../transports/log-follow.ts';
import { type MonitorEvent, parseMonitorEvent } from './wire-events.ts';

/** Bytes of one event: far more than any has. */
const maxEventBytes = 1 << 16;
/** Ticks of a process's start time in a second (USER_HZ, proc(5)). */
const ticksPerSecond = 100;

/** The events that Cloud Hypervisor has logged, and those that come. */
export async function* monitorEvents(
  runtimeFolder: string,
  reading: LogReading,
): AsyncGenerator<MonitorEvent, void, undefined> {
  let rest = '';
  for await (const piece of readLog(vmmFiles.eventsOut(runtimeFolder), reading)) {
    const texts = (rest + piece.toString('utf8')).split('\n\n');
    rest = texts.pop() ?? '';
    if (rest.length > maxEventBytes) throw new VmError('VMM_FAILED', 'an event of Cloud Hypervisor has no end');
    for (const text of texts) {
      const event = parseMonitorEvent(text);
      if (event !== undefined) yield event;
    }
  }
}

/**
 * Does something, and waits until an event tells that it has had its effect.
 * @throws {VmError} what `action` throws; TIMEOUT, ABORTED
 */
export async function untilEvent<T>(
  runtimeFolder: string,
  matches: (event: MonitorEvent) => boolean,
  call: CallOptions,
  action: () => Promise<T>,
): Promise<T> {
  // What was logged before does not count.
  const { size } = await stat(vmmFiles.eventsOut(runtimeFolder));
  const result = await action();
  const never = new Promise<never>(() => undefined);
  const reading = { startAt: async () => size, until: never, signal: call.signal };
  for await (const event of monitorEvents(runtimeFolder, reading)) if (matches(event)) return result;
  throw new VmError('VMM_GONE', 'the log of events has ended');
}

/** When a process of this boot started, in milliseconds since the epoch, to a hundredth of a second. */
export function startedMs({ startTime }: ProcessIdentity): number {
  const bootSeconds = Number(/^btime (\d+)/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1] ?? 0);
  return bootSeconds * 1000 + (startTime / ticksPerSecond) * 1000;
}
