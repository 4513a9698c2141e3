import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Collector } from '../../../src/guest/collector.ts';
import { Output } from '../../../src/guest/output.ts';

const WINDOW = 1024;

/** An output whose agent always sends as much as it may, in pieces of these sizes. */
function feed(output: Output, sizes: readonly number[], sent: Buffer[]): void {
  for (const size of sizes) {
    const piece = Buffer.alloc(Math.min(size, output.room), sent.length % 256);
    if (piece.length === 0) continue;
    sent.push(piece);
    output.push(piece);
  }
}

describe('an output', () => {
  test('gives out just what came in, and never stops its agent for good', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.array(fc.integer({ min: 1, max: 700 })), fc.nat(10)), { maxLength: 20 }),
        (rounds) => {
          let granted = 0;
          const output = new Output(WINDOW, { last: 0 }, (bytes) => (granted += bytes));
          const sent: Buffer[] = [];
          const got: Buffer[] = [];
          for (const [sizes, takes] of rounds) {
            feed(output, sizes, sent);
            for (let i = 0; i < takes; i += 1) got.push(output.take() ?? Buffer.alloc(0));
          }
          for (let data = output.take(); data !== undefined; data = output.take()) got.push(data);
          expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
          expect(output.room).toBeGreaterThan((WINDOW * 3) / 4 - 1);
          expect(granted).toBeLessThanOrEqual(Buffer.concat(sent).length);
        },
      ),
    );
  });

  test('that is let go keeps at most a window and gives all credit back', () => {
    const output = new Output(WINDOW, { last: 0 }, () => {});
    output.push(Buffer.alloc(1000));
    output.letGo();
    expect(output.room).toBe(WINDOW);
    for (let i = 0; i < 100; i += 1) output.push(Buffer.alloc(700));
    let held = 0;
    for (let data = output.take(); data !== undefined; data = output.take()) held += data.length;
    expect(held).toBeLessThanOrEqual(WINDOW);
    output.discard();
    output.push(Buffer.alloc(700));
    expect(output.take()).toBeUndefined();
  });

  test('does not keep a large chunk alive for a small slice of it', () => {
    const output = new Output(WINDOW, { last: 0 }, () => {});
    const chunk = Buffer.alloc(65_536);
    output.push(chunk.subarray(5, 1000));
    expect(output.take()?.buffer).not.toBe(chunk.buffer);
  });
});

describe('a collector', () => {
  test('keeps the first bytes up to its limit and says once that there was more', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 9000 }), { maxLength: 30 }), fc.nat(60_000), (sizes, limit) => {
        let over = 0;
        const output = new Output(262_144, { last: 0 }, () => {});
        const sent: Buffer[] = [];
        feed(output, sizes.slice(0, 10), sent);
        const collector = new Collector(output, limit, () => (over += 1));
        feed(output, sizes.slice(10), sent);
        const all = Buffer.concat(sent);
        expect(collector.bytes().equals(all.subarray(0, limit))).toBe(true);
        expect(over).toBe(all.length > limit ? 1 : 0);
      }),
    );
  });
});
