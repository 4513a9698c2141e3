import { expect, it } from 'vitest';
import { table } from '../../../src/cli/table.ts';

it('makes columns as wide as their widest cell and writes a dash for an empty one', () => {
  const text = table(
    ['NAME', 'STATUS'],
    [
      ['a-long-name', 'running'],
      ['b', ''],
      ['', 'x'],
    ],
  );
  expect(text.split('\n')).toEqual([
    'NAME          STATUS',
    'a-long-name   running',
    'b             -',
    '-             x',
  ]);
});

it('prints its headings without rows, and no blanks at the end of a line', () => {
  expect(table(['A', 'B'], [])).toBe('A   B');
  expect(table(['A', 'LONGER'], [['1', '2']]).split('\n')[1]).toBe('1   2');
});
