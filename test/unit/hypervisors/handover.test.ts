import { expect, it } from 'vitest';
import { packed, unpacked } from '../../../src/hypervisors/handover.ts';
import { qemu } from '../../../src/hypervisors/qemu/index.ts';
import { contextFor } from './fixture.ts';

it('what is packed comes out the same', () => {
  const context = contextFor(qemu, { vcpus: 2 });
  expect(unpacked(packed(context, { schema: 1, counter: 7 }))).toEqual({ context, state: { schema: 1, counter: 7 } });
});

it.each([
  ['nothing', ''],
  ['no JSON', '{'],
  ['null', 'null'],
  ['another schema', '{"schema":2,"context":{},"state":{}}'],
  ['no folders', '{"schema":1,"context":{"id":"a","name":"b","config":{}},"state":{}}'],
  ['no state', JSON.stringify({ schema: 1, context: contextFor(qemu) })],
])('%s is refused', (_, text) => {
  expect(() => unpacked(new TextEncoder().encode(text))).toThrow(/STATE_INVALID/);
});

it('bytes that are no text, and more of them than any VM needs, are refused', () => {
  expect(() => unpacked(Uint8Array.of(0xff, 0xfe))).toThrow(/STATE_INVALID/);
  expect(() => unpacked(new Uint8Array(5 * 2 ** 20).fill(0x20))).toThrow(/STATE_INVALID/);
});
