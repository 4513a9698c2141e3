import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addKernelParam, deserializeParams, serializeParams } from '../../../src/config/kernel-params.ts';
import { errorOf } from './fixture.ts';

describe('addKernelParam', () => {
  test('adds at the end of a copy', () => {
    const before = [{ key: 'a', value: '1' }];
    expect(addKernelParam(before, { key: 'b', value: '' })).toEqual([
      { key: 'a', value: '1' },
      { key: 'b', value: '' },
    ]);
    expect(before).toHaveLength(1);
  });

  test('refuses an empty key', () => {
    const error = errorOf(() => addKernelParam([], { key: '', value: 'x' }));
    expect(error.code).toBe('INVALID_CONFIG');
    expect(error.facts.field).toBe('kernelParams');
    expect(error.message).toContain('Empty kernel parameter');
  });
});

test.each([
  [{ key: '', value: '' }, '=', []],
  [{ key: '', value: 'v' }, '=', ['v']],
  [{ key: 'k', value: '' }, '=', ['k']],
  [{ key: 'k', value: 'v' }, '=', ['k=v']],
  [{ key: 'k', value: 'v' }, ':', ['k:v']],
  [{ key: 'k', value: 'v' }, '', ['k', 'v']],
  [{ key: '', value: 'v' }, '', ['v']],
])('serializeParams: %j with delimiter %j', (param, delim, words) => {
  expect(serializeParams([param], delim)).toEqual(words);
});

test.each([
  [[''], []],
  [['k'], [{ key: 'k', value: '' }]],
  [['k=v'], [{ key: 'k', value: 'v' }]],
  [['k=v=w'], [{ key: 'k', value: 'v=w' }]],
  [['k='], [{ key: 'k', value: '' }]],
  [['=v'], [{ key: '', value: 'v' }]],
  [['='], [{ key: '', value: '' }]],
  [
    ['a', '', 'b=1'],
    [
      { key: 'a', value: '' },
      { key: 'b', value: '1' },
    ],
  ],
])('deserializeParams: %j', (words, params) => {
  expect(deserializeParams(words)).toEqual(params);
});

test('parameters with keys come back as they were', () => {
  const key = fc.string({ minLength: 1 }).filter((text) => !text.includes('='));
  fc.assert(
    fc.property(fc.array(fc.record({ key, value: fc.string() })), (params) => {
      expect(deserializeParams(serializeParams(params, '='))).toEqual(params);
    }),
  );
});

test('words come back as they were, but for empty ones and a trailing or leading "="', () => {
  const word = fc.string().filter((text) => text !== '' && !text.startsWith('=') && !/^[^=]*=$/.test(text));
  fc.assert(
    fc.property(fc.array(word), (words) => {
      expect(serializeParams(deserializeParams(words), '=')).toEqual(words);
    }),
  );
});
