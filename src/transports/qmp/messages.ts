/** QEMU's version, as its greeting tells it. */
export interface QmpGreeting {
  version: { qemu: { major: number; minor: number; micro: number }; package: string };
  capabilities: readonly unknown[];
}

/** Something that happened in the VMM, told unasked. */
export interface QmpEvent {
  event: string;
  data: Record<string, unknown>;
  timestamp?: { seconds: number; microseconds: number } | undefined;
}

/** What a QMP server sends: one JSON object per line (docs/interop/qmp-spec in QEMU's sources). */
export type QmpMessage =
  | { kind: 'greeting'; greeting: QmpGreeting }
  | { kind: 'event'; event: QmpEvent }
  | { kind: 'return'; id: unknown; value: unknown }
  | { kind: 'error'; id: unknown; class: string; description: string };

/** Reads one line; undefined when it is not a message of QMP. */
export function parseMessage(line: string): QmpMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  if ('return' in value) return { kind: 'return', id: value['id'], value: value['return'] };
  const { QMP: greeting, event, error } = value;
  if (isObject(error)) {
    const { class: name, desc } = error;
    return {
      kind: 'error',
      id: value['id'],
      class: asText(name, 'GenericError'),
      description: asText(desc, 'no reason given'),
    };
  }
  if (typeof event === 'string') {
    const data = isObject(value['data']) ? value['data'] : {};
    const { timestamp } = value;
    return isTimestamp(timestamp)
      ? { kind: 'event', event: { event, data, timestamp } }
      : { kind: 'event', event: { event, data } };
  }
  return isGreeting(greeting) ? { kind: 'greeting', greeting } : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asText(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise;
}

function isTimestamp(value: unknown): value is { seconds: number; microseconds: number } {
  return isObject(value) && typeof value['seconds'] === 'number' && typeof value['microseconds'] === 'number';
}

function isGreeting(value: unknown): value is QmpGreeting {
  if (!isObject(value) || !isObject(value['version']) || !Array.isArray(value['capabilities'])) return false;
  const { qemu } = value['version'];
  return isObject(qemu) && ['major', 'minor', 'micro'].every((part) => Number.isInteger(qemu[part]));
}
