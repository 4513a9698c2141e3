import { expect, test } from 'vitest';
import { assertCovers, type FieldUse } from '../../../src/config/field-use.ts';
import { errorOf, usesAll } from './fixture.ts';

const { debug: _debug, ...usesAllButDebug } = usesAll.uses;

test.each<[string, FieldUse]>([
  ['every field used', usesAll],
  ['one unused with a reason', { hypervisor: 'x', uses: usesAllButDebug, unused: { debug: 'it is silent' } }],
])('%s', (_, use) => {
  expect(() => {
    assertCovers(use);
  }).not.toThrow();
});

const wrong: [string, FieldUse, string][] = [
  ['a field is missing', { hypervisor: 'x', uses: usesAllButDebug, unused: {} }, 'debug is missing'],
  ['used and unused', { ...usesAll, unused: { debug: 'no' } }, 'debug is both'],
  ['no reason', { hypervisor: 'x', uses: usesAllButDebug, unused: { debug: ' ' } }, 'debug is unused without a reason'],
  ['an unknown field', { ...usesAll, uses: { ...usesAll.uses, ...{ nope: true } } }, 'nope is no config field'],
  [
    'a default without use',
    { hypervisor: 'x', uses: usesAllButDebug, unused: { debug: 'no' }, defaults: { debug: true } },
    'debug has a default but no use',
  ],
];

test.each(wrong)('%s', (_, use, text) => {
  const error = errorOf(() => {
    assertCovers(use);
  });
  expect(error.code).toBe('INTERNAL');
  expect(error.message).toContain(text);
});
