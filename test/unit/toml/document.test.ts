import { describe, expect, it } from 'vitest';
import { parseToml } from '../../../src/toml/document.ts';
import { plain } from '../../../src/toml/values.ts';
import { rejection } from '../config/fixture.ts';

it('gives each key its tables, its kind and its place', async () => {
  const { entries, tables } = await parseToml(
    'a = 1\n[t."x.y"]\nb.c = { d = 1.0 }\n[[l]]\ne = ["f", { g = true }]\n',
    'f',
  );
  expect(entries.map(({ path, value, place }) => [path.join('/'), value.kind, place.line, plain(value)])).toEqual([
    ['a', 'integer', 1, 1],
    ['t/x.y/b/c/d', 'float', 3, 1],
    ['l/0/e', 'array', 5, ['f', { g: true }]],
  ]);
  expect(tables.map(({ path }) => path.join('/'))).toEqual(['t/x.y', 't/x.y/b/c', 'l/0']);
});

it('names are data', async () => {
  const { entries } = await parseToml('a = [{ __proto__ = { x = 1 }, constructor = 2 }]', 'f');
  const [object] = plain(entries[0]?.value ?? { kind: 'integer', value: 0 }) as Record<string, unknown>[];
  expect(Object.keys(object ?? {})).toEqual(['__proto__', 'constructor']);
  expect(({} as Record<string, unknown>)['x']).toBeUndefined();
});

describe('refuses, with the line', () => {
  it.each([
    ['a = 1\na = 2', 2],
    ['\n\n[a', 3],
    ['a = "x', 1],
    ['\na = 2020-13-45', 2],
    [Buffer.from([0x61, 0x0a, 0xff, 0xfe]), 2],
    [`\na = ${'['.repeat(50_000)}`, 2],
  ])('%#', async (text, line) => {
    const error = await rejection(parseToml(text, '/f.toml'));
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', facts: { path: '/f.toml', line } });
    expect(error.rawMessage).toMatch(new RegExp(`^/f\\.toml:${line}: `));
  });
});
