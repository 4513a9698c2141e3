import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter } from '../../../../src/transports/qmp/lines.ts';

test('any cutting of a stream gives the same lines', () => {
  const line = fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => text.replaceAll(/[\r\n]/g, ''));
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(400)), fc.constantFrom('\n', '\r\n'), (lines, cuts, end) => {
      const bytes = Buffer.from(lines.map((text) => text + end).join(''));
      const splitter = new LineSplitter(1000);
      const edges = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).toSorted((a, b) => a - b), bytes.length];
      const found = edges.slice(1).flatMap((edge, i) => splitter.push(bytes.subarray(edges[i], edge)) ?? ['too long']);
      expect(found).toEqual(lines);
    }),
  );
});

test('a line that is too long is reported, ended or not', () => {
  expect(new LineSplitter(4).push(Buffer.from('12345'))).toBeUndefined();
  expect(new LineSplitter(4).push(Buffer.from('12345\n'))).toBeUndefined();
  expect(new LineSplitter(4).push(Buffer.from('1234\n1234\n1'))).toEqual(['1234', '1234']);
  const splitter = new LineSplitter(4);
  expect(splitter.push(Buffer.from('123'))).toEqual([]);
  expect(splitter.push(Buffer.from('45'))).toBeUndefined();
});
