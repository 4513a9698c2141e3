import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseEventLine } from '../../../../src/hypervisors/qemu/wire-events.ts';

const at = { seconds: 1_700_000_000, microseconds: 500_000 };
const line = (event: string, data: object = {}): string => JSON.stringify({ event, data, timestamp: at });
const when = '2023-11-14T22:13:20.500Z';

describe("QEMU's events as ours", () => {
  it.each([
    ['SHUTDOWN', { guest: true, reason: 'guest-shutdown' }, { event: 'shutdown', reason: 'guest-shutdown' }],
    ['RESET', { guest: true, reason: 'guest-reset' }, { event: 'reset', reason: 'guest-reset' }],
    ['STOP', {}, { event: 'paused' }],
    ['RESUME', {}, { event: 'resumed' }],
    ['GUEST_PANICKED', { action: 'pause' }, { event: 'guest-panicked', action: 'pause' }],
    ['DEVICE_DELETED', { device: 'disk', path: '/machine/peripheral/disk' }, { event: 'device-deleted', id: 'disk' }],
    ['DEVICE_UNPLUG_GUEST_ERROR', { device: 'disk', path: '/x' }, { event: 'unplug-refused', id: 'disk' }],
    ['MEMORY_DEVICE_SIZE_CHANGE', { size: 4096, 'qom-path': '/x' }, { event: 'memory-size-changed', sizeBytes: 4096 }],
    [
      'BLOCK_IO_ERROR',
      { 'node-name': 'disk', operation: 'write', action: 'stop', reason: 'No space' },
      { event: 'io-error', id: 'disk', operation: 'write', action: 'stop', reason: 'No space' },
    ],
    ['ACPI_DEVICE_OST', { info: { device: 'dimm0', source: 3, status: 1 } }, { event: 'unplug-refused', id: 'dimm0' }],
  ])('%s', (event, data, expected) => {
    expect(parseEventLine(line(event, data))).toEqual({ at: when, ...expected });
  });

  it.each([
    ['an ejection that goes on', line('ACPI_DEVICE_OST', { info: { device: 'dimm0', source: 3, status: 0x84 } })],
    ['one that succeeded', line('ACPI_DEVICE_OST', { info: { source: 3, status: 0 } })],
    ['an event of no meaning to others', line('RTC_CHANGE', { offset: 1 })],
    ['a name of Object', line('constructor')],
    ['a line that was cut short', line('SHUTDOWN', { reason: 'x' }).slice(0, -9)],
    ['an answer', '{"return":{}}'],
    ['a time that is none', JSON.stringify({ event: 'STOP', timestamp: { seconds: -1, microseconds: -1 } })],
  ])('nothing: %s', (_, text) => {
    expect(parseEventLine(text)).toBeUndefined();
  });

  it('whatever a guest makes QEMU say, it is an event or nothing', () => {
    fc.assert(
      fc.property(fc.constantFrom('SHUTDOWN', 'ACPI_DEVICE_OST', 'BLOCK_IO_ERROR'), fc.object(), (event, data) => {
        const parsed = parseEventLine(line(event, data));
        expect(parsed === undefined || typeof parsed.event === 'string').toBe(true);
      }),
    );
  });
});
