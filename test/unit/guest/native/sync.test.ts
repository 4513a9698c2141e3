import { expect, it } from 'vitest';
import { syncPayload } from '../../../../src/guest/native/sync.ts';
import { failure } from '../../../fakes/failure.ts';

/** A field as docs/agent-protocol.md has it: its tag, two bytes of nothing and its length, little-endian, in front of the value. */
const field = (tag: number, value: Buffer): Buffer => {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(tag, 0);
  head.writeUInt32LE(value.length, 4);
  return Buffer.concat([head, value]);
};

it('carries a machine id, and how addresses of network cards are turned', () => {
  const macMask = Buffer.of(1, 2, 3, 4, 5, 6);
  const id = 'ab'.repeat(16);
  expect(syncPayload({ machineId: id, macMask })).toEqual(
    Buffer.concat([field(52, Buffer.from(id)), field(53, macMask)]),
  );
});

it.each([
  ['machineId', { machineId: 'A'.repeat(32) }],
  ['macMask', { macMask: Buffer.alloc(5) }],
  ['entropy', {}],
])('refuses a wrong %s', async (name, wrong) => {
  const error = await failure(Promise.resolve().then(() => syncPayload(wrong)));
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', facts: { field: name } });
});
