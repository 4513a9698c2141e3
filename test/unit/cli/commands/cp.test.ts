import { expect, it } from 'vitest';
import { copyPlan } from '../../../../src/cli/commands/cp.ts';

it.each([
  ['a', 'web:/b', { name: 'web', into: true, source: 'a', target: '/b' }],
  ['web:b/c', '.', { name: 'web', into: false, source: 'b/c', target: '.' }],
  ['-', 'web:/', { name: 'web', into: true, source: '-', target: '/' }],
  ['web:/x:y', '-', { name: 'web', into: false, source: '/x:y', target: '-' }],
  ['./web:x', 'web:x', { name: 'web', into: true, source: './web:x', target: 'x' }],
  ['/a:b', 'web:x', { name: 'web', into: true, source: '/a:b', target: 'x' }],
])('%s to %s', (source, target, plan) => {
  expect(copyPlan(source, target)).toEqual(plan);
});

it.each([
  ['a', 'b', 'Neither'],
  ['a:b', 'c:d', 'Both'],
  ['a', 'web:', 'names no path'],
])('%s to %s is refused', (source, target, words) => {
  expect(() => copyPlan(source, target)).toThrow(words);
});
