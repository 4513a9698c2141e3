import type { VmmEvent } from '../vmm-event.ts';

/** An event of Cloud Hypervisor's own: its log has them as JSON over several lines, with a blank line after each. */
export interface MonitorEvent {
  /** since Cloud Hypervisor started */
  timestamp: { secs: number; nanos: number };
  source: string;
  event: string;
  properties: Record<string, string> | null;
}

type What = VmmEvent extends infer E ? (E extends VmmEvent ? Omit<E, 'at'> : never) : never;

/** Events that mean something to others, by source and event (`event!` in its sources). */
const kinds: Readonly<Record<string, (properties: Record<string, string>) => What>> = {
  'vm paused': () => ({ event: 'paused' }),
  'vm resumed': () => ({ event: 'resumed' }),
  'vm rebooted': () => ({ event: 'reset', reason: 'guest-reset' }),
  'vm shutdown': () => ({ event: 'shutdown', reason: 'host-request' }),
  'vmm shutdown': () => ({ event: 'shutdown', reason: 'vmm-shutdown' }),
  'vm device-removed': ({ id }) => ({ event: 'device-deleted', id }),
  'guest panic': ({ event = '' }) => ({ event: 'guest-panicked', action: event }),
};

/** An event as it is written, without the blank line; undefined for what is none. */
export function parseMonitorEvent(text: string): MonitorEvent | undefined {
  let event: Partial<MonitorEvent> | null;
  try {
    event = JSON.parse(text) as Partial<MonitorEvent> | null;
  } catch {
    return undefined;
  }
  if (typeof event?.source !== 'string' || typeof event.event !== 'string') return undefined;
  if (!Number.isFinite(event.timestamp?.secs) || !Number.isFinite(event.timestamp?.nanos)) return undefined;
  return event as MonitorEvent;
}

/** An event as ours; undefined for what means nothing to others. @param startedMs when Cloud Hypervisor started, since the epoch */
export function typedEvent(
  { timestamp, source, event, properties }: MonitorEvent,
  startedMs: number,
): VmmEvent | undefined {
  const kind = `${source} ${event}`;
  const what = Object.hasOwn(kinds, kind) ? kinds[kind]?.(properties ?? {}) : undefined;
  if (what === undefined) return undefined;
  const ms = startedMs + timestamp.secs * 1000 + timestamp.nanos / 1e6;
  return { at: new Date(Math.min(Math.max(ms, 0), 8.64e15 - 1)).toISOString(), ...what };
}
