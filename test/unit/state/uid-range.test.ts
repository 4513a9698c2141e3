import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { freeUids, takeUid, uidRange } from '../../../src/state/uid-range.ts';
import { codeOf } from '../../fakes/failure.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();
const range = { first: 5000, count: 4 };

test('no two VMs have one uid, and one VM has the same each time', () => {
  const ids = ['000000000001', '000000000005', '000000000009', '00000000000d'];
  const uids = ids.map((id) => takeUid(id, range, at.folder));
  expect(new Set(uids)).toEqual(new Set([5000, 5001, 5002, 5003]));
  expect(ids.map((id) => takeUid(id, range, at.folder))).toEqual(uids);
});

test('a uid that was freed can be taken again; without a free one the next is refused', async () => {
  for (const id of ['0', '1', '2', '3']) takeUid(id, range, at.folder);
  const next = (): Promise<number> => Promise.resolve().then(() => takeUid('4', range, at.folder));
  expect(await codeOf(next())).toBe('BUSY');
  freeUids('2', at.folder);
  expect(await next()).toBe(5002);
  for (const id of ['0', '1', '3', '4', '4']) freeUids(id, at.folder);
  expect(readdirSync(at.folder)).toEqual([]);
  freeUids('0', at.file('nowhere'));
});

test('the range comes from POLYVISOR_UIDS', async () => {
  expect(uidRange({ POLYVISOR_UIDS: '200000-265535' })).toEqual({ first: 200_000, count: 65_536 });
  expect(uidRange({}).first).toBe(2_100_000_000);
  for (const wrong of ['1', '0-5', '5000-4000', 'a-b', '5000-4294967295'])
    expect(await codeOf(Promise.resolve().then(() => uidRange({ POLYVISOR_UIDS: wrong }))), wrong).toBe(
      'INVALID_ARGUMENT',
    );
});
