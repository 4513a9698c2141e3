import { parseMessage, type QmpEvent } from '../../transports/qmp/messages.ts';
import type { VmmEvent } from '../vmm-event.ts';

type What = VmmEvent extends infer E ? (E extends VmmEvent ? Omit<E, 'at'> : never) : never;

/** QEMU's events that mean something to others (qapi/*.json), each as ours. */
const kinds: Readonly<Record<string, (data: Record<string, unknown>) => What | undefined>> = {
  SHUTDOWN: (data) => ({ event: 'shutdown', reason: text(data['reason']) }),
  RESET: (data) => ({ event: 'reset', reason: text(data['reason']) }),
  STOP: () => ({ event: 'paused' }),
  RESUME: () => ({ event: 'resumed' }),
  GUEST_PANICKED: (data) => ({ event: 'guest-panicked', action: text(data['action']) }),
  GUEST_CRASHLOADED: (data) => ({ event: 'guest-panicked', action: text(data['action']) }),
  DEVICE_DELETED: (data) => ({ event: 'device-deleted', id: idOf(data) }),
  DEVICE_UNPLUG_GUEST_ERROR: (data) => ({ event: 'unplug-refused', id: idOf(data) }),
  MEMORY_DEVICE_SIZE_CHANGE: (data) => ({ event: 'memory-size-changed', sizeBytes: Number(data['size']) }),
  BLOCK_IO_ERROR: (data) => ({
    event: 'io-error',
    id: text(data['node-name'] ?? data['device']),
    operation: text(data['operation']),
    action: text(data['action']),
    reason: text(data['reason']),
  }),
  ACPI_DEVICE_OST: ({ info }) => refusal((info ?? {}) as Record<string, unknown>),
};

/** A line of the event log as an event; undefined for what is no event, cut short, or of no meaning to others. */
export function parseEventLine(line: string): VmmEvent | undefined {
  const message = parseMessage(line);
  return message?.kind === 'event' ? typedEvent(message.event) : undefined;
}

export function typedEvent({ event, data, timestamp }: QmpEvent): VmmEvent | undefined {
  const what = Object.hasOwn(kinds, event) ? kinds[event]?.(data) : undefined;
  if (what === undefined || timestamp === undefined) return undefined;
  const ms = timestamp.seconds * 1000 + timestamp.microseconds / 1000;
  // QEMU says -1 when the host's clock can't be read.
  if (!(ms >= 0 && ms < 8.64e15)) return undefined;
  return { at: new Date(ms).toISOString(), ...what };
}

/** A guest's refusal to let go of a vCPU or of memory comes as ACPI's _OST only (control-plug.ts). */
function refusal({ source, status, device }: Record<string, unknown>): What | undefined {
  const refused = source === 3 && status !== 0 && status !== 0x84;
  return refused ? { event: 'unplug-refused', id: typeof device === 'string' ? device : undefined } : undefined;
}

/** A part of a device, such as a vCPU's interrupt controller, has no id of its own. */
function idOf(data: Record<string, unknown>): string | undefined {
  return typeof data['device'] === 'string' ? data['device'] : undefined;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
