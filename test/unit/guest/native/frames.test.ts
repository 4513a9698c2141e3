import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VmError } from '../../../../src/errors.ts';
import { Fields, FieldWriter } from '../../../../src/guest/native/fields.ts';
import {
  FrameDecoder,
  encodeCredit,
  encodeDataHeader,
  encodeFrame,
  type Frame,
} from '../../../../src/guest/native/frames.ts';
import { PrefaceFinder, newPreface } from '../../../../src/guest/native/preface.ts';
import { FrameType, Tag } from '../../../../src/guest/native/wire.ts';
import { fieldBytes, frameBytes } from './fake-agent.ts';

const frame = fc.record({
  type: fc.constantFrom(...Object.values(FrameType)),
  stream: fc.nat(0xffff_ffff),
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});
const cuts = fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 1, maxLength: 40 });

/** Cuts into pieces of these sizes, in turn. */
function split(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i += 1) {
    const size = sizes[i % sizes.length] as number;
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

function decode(pieces: readonly Buffer[]): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder((it) => frames.push(it));
  for (const piece of pieces) decoder.push(piece);
  return frames;
}

describe('frames', () => {
  test('are decoded alike however they are split, with padding between them', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), fc.nat(20), cuts, (frames, zeros, sizes) => {
        const bytes = Buffer.concat(
          frames.flatMap((it) => [Buffer.alloc(zeros), frameBytes(it.type, it.stream, it.payload)]),
        );
        expect(decode(split(bytes, sizes))).toEqual(frames);
      }),
    );
  });

  test('are encoded as specified', () => {
    fc.assert(
      fc.property(frame, ({ type, stream, payload }) => {
        expect(encodeFrame(type, stream, payload)).toEqual(frameBytes(type, stream, payload));
      }),
    );
    expect(Buffer.concat([encodeDataHeader(7, 1, 2), Buffer.from('hi')])).toEqual(
      frameBytes(0x12, 7, Buffer.from('\u0001hi')),
    );
    expect(encodeCredit(7, 2, 0x01020304)).toEqual(frameBytes(0x13, 7, Buffer.from([2, 4, 3, 2, 1])));
  });

  test('of random bytes end with AGENT_PROTOCOL or wait for more', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), cuts, (bytes, sizes) => {
        try {
          decode(split(Buffer.from(bytes), sizes));
        } catch (error) {
          expect(error).toBeInstanceOf(VmError);
          expect((error as VmError).code).toBe('AGENT_PROTOCOL');
        }
      }),
      { numRuns: 500 },
    );
  });

  test('are refused at once when a byte, the reserved field, the type or the length is wrong', () => {
    const good = frameBytes(0x12, 1, Buffer.from('x'));
    const wrong = (at: number, value: number): Buffer => {
      const bytes = Buffer.from(good);
      bytes[at] = value;
      return bytes;
    };
    expect(() => decode([Buffer.from([0x41])])).toThrow(/AGENT_PROTOCOL.*wrong byte/);
    expect(() => decode([wrong(1, 0x77)])).toThrow(/unknown type 0x77/);
    expect(() => decode([wrong(2, 1)])).toThrow(/reserved/);
    expect(() => decode([wrong(10, 2)])).toThrow(/a frame of 131073 bytes/);
    expect(decode([frameBytes(0x12, 1, Buffer.alloc(65_536))])[0]?.payload.length).toBe(65_536);
  });

  test('that lie in one chunk are not copied', () => {
    const chunk = frameBytes(0x12, 1, Buffer.alloc(1000));
    expect(decode([chunk])[0]?.payload.buffer).toBe(chunk.buffer);
  });
});

describe('fields', () => {
  test('are written as specified and read back', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, BigInt(Number.MAX_SAFE_INTEGER)), fc.string({ unit: 'grapheme' }), (number, string) => {
        fc.pre(!string.includes('\0'));
        const payload = new FieldWriter().int(Tag.PID, number).text(Tag.CWD, string).finish();
        expect(payload).toEqual(
          fieldBytes([
            [32, number],
            [18, string],
          ]),
        );
        const fields = new Fields(payload);
        expect(fields.int(Tag.PID)).toBe(Number(number));
        expect(fields.text(Tag.CWD, 10_000)).toBe(string);
      }),
    );
  });

  test('that are unknown are skipped', () => {
    expect(
      new Fields(
        fieldBytes([
          [999, 'later'],
          [999, 'again'],
          [32, 5],
        ]),
      ).int(Tag.PID),
    ).toBe(5);
  });

  test('that are wrong are AGENT_PROTOCOL', () => {
    const whole = fieldBytes([[32, 5]]);
    const reserved = Buffer.from(whole);
    reserved[2] = 1;
    const long = Buffer.from(whole);
    long[4] = 9;
    for (const payload of [
      whole.subarray(0, 7),
      whole.subarray(0, 15),
      reserved,
      long,
      Buffer.concat([whole, whole]),
    ]) {
      expect(() => new Fields(payload)).toThrow(/AGENT_PROTOCOL/);
    }
    const read = (value: Uint8Array | string, act: (fields: Fields) => unknown): (() => unknown) => {
      return () => act(new Fields(fieldBytes([[32, value]])));
    };
    expect(read('1234567', (it) => it.int(Tag.PID))).toThrow(/not an integer/);
    expect(read(Buffer.alloc(8, 0xff), (it) => it.int(Tag.PID))).toThrow(/range/);
    expect(read('abc', (it) => it.text(Tag.PID, 2))).toThrow(/above 2/);
    expect(read('a\0', (it) => it.text(Tag.PID, 9))).toThrow(/NUL/);
    expect(read(Buffer.from([0xff]), (it) => it.text(Tag.PID, 9))).toThrow(/UTF-8/);
    expect(() => new Fields(Buffer.alloc(0)).int(Tag.PID)).toThrow(/missing/);
  });

  test('of random bytes are read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          expect(new Fields(Buffer.from(bytes)).has(Tag.PID)).toBeTypeOf('boolean');
        } catch (error) {
          expect((error as VmError).code).toBe('AGENT_PROTOCOL');
        }
      }),
    );
  });
});

describe('the echo of the preface', () => {
  test('is found wherever it is and however it is split', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.uint8Array({ maxLength: 50 }),
        fc.nat(23),
        cuts,
        (before, after, part, sizes) => {
          const preface = newPreface();
          const stale = Buffer.concat([before, preface.subarray(0, part)]);
          // A part of a preface that ends as it begins is a whole one with what follows; a former client's would be another's.
          fc.pre(Buffer.concat([stale, preface]).indexOf(preface) === stale.length);
          const finder = new PrefaceFinder(preface);
          const rest: Buffer[] = [];
          let found = false;
          for (const piece of split(Buffer.concat([stale, preface, after]), sizes)) {
            if (found) rest.push(piece);
            else {
              const more = finder.push(piece);
              if (more !== undefined) {
                found = true;
                rest.push(more);
              }
            }
          }
          expect(found).toBe(true);
          expect(Buffer.concat(rest)).toEqual(Buffer.from(after));
        },
      ),
      { numRuns: 500 },
    );
  });

  test('must come within the limit, whatever the size of the pieces', () => {
    for (const size of [1, 10, 100]) {
      const finder = new PrefaceFinder(newPreface(), 1000);
      let given = 0;
      expect(() => {
        for (; given < 5000; given += size) finder.push(Buffer.alloc(size, 1));
      }).toThrow(/AGENT_PROTOCOL.*1000/);
      expect(given).toBeLessThanOrEqual(1000 + 23 + size);
    }
  });
});
