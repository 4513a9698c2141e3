import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VmError } from '../../../../src/errors.ts';
import type { TarEntry } from '../../../../src/transports/tar/entry.ts';
import { TarReader } from '../../../../src/transports/tar/reader.ts';
import { tarHeaders, TAR_TRAILER } from '../../../../src/transports/tar/writer.ts';
import { archive, forge, pax, trailer } from '../../../fakes/tar.ts';

interface Read {
  entry: TarEntry;
  body: Buffer;
}

function read(data: Buffer, piece: number = data.length): Read[] {
  const reader = new TarReader();
  const found: Read[] = [];
  const bodies: Buffer[][] = [];
  for (let at = 0; at < data.length; at += piece) {
    for (const event of reader.push(data.subarray(at, at + piece))) {
      if (event === 'end') continue;
      if ('data' in event) bodies.at(-1)?.push(event.data);
      else {
        found.push({ entry: event.entry, body: Buffer.alloc(0) });
        bodies.push([]);
      }
    }
  }
  reader.finish();
  return found.map((it, at) => ({ ...it, body: Buffer.concat(bodies[at] ?? []) }));
}

function problem(data: Buffer, piece?: number): string {
  try {
    read(data, piece);
  } catch (error) {
    if (error instanceof VmError && error.code === 'ARCHIVE_INVALID') return error.rawMessage;
    throw error;
  }
  throw new Error('it was taken');
}

const name = fc
  .uint8Array({ minLength: 1, maxLength: 300 })
  .map((bytes) => Buffer.from(bytes.map((byte) => (byte < 33 || byte === 127 ? 120 : byte))));
const entries = fc.record({
  type: fc.constantFrom('file' as const, 'folder' as const, 'symlink' as const, 'hardlink' as const),
  name,
  link: name,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.nat({ max: 0xffff_fffe }),
  gid: fc.nat({ max: 0xffff_fffe }),
  mtimeNs: fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n }),
  body: fc.uint8Array({ maxLength: 1500 }),
});

it('reads what it writes, in pieces of any size', () => {
  fc.assert(
    fc.property(fc.array(entries, { maxLength: 4 }), fc.integer({ min: 1, max: 3000 }), (list, piece) => {
      const wanted = list.map(({ body, ...it }) => {
        const isLink = it.type === 'symlink' || it.type === 'hardlink';
        const bytes = it.type === 'file' ? Buffer.from(body) : Buffer.alloc(0);
        return { entry: { ...it, link: isLink ? it.link : Buffer.alloc(0), size: bytes.length }, body: bytes };
      });
      const parts = wanted.flatMap(({ entry, body }) => [
        tarHeaders(entry),
        body,
        Buffer.alloc((512 - (body.length % 512)) % 512),
      ]);
      expect(read(Buffer.concat([...parts, TAR_TRAILER]), piece)).toEqual(wanted);
    }),
    { numRuns: 200 },
  );
});

it('writes what tar reads, and sizes above 8 GiB', () => {
  const entry: TarEntry = {
    type: 'folder',
    name: Buffer.from(`${'ü'.repeat(80)}/`),
    link: Buffer.alloc(0),
    mode: 0o1755,
    uid: 3_000_000,
    gid: 7,
    mtimeNs: 981_173_106_123_456_789n,
    size: 0,
  };
  const list = execFileSync('tar', ['-tv', '--numeric-owner', '--full-time', '--utc', '--quoting-style=literal'], {
    input: Buffer.concat([tarHeaders(entry), TAR_TRAILER]),
  });
  expect(list.toString()).toMatch(/^drwxr-xr-t 3000000\/7 +0 2001-02-03 04:05:06\.123456789 ü{80}\/\n$/);
  const size = 9 * 2 ** 30;
  const reader = new TarReader();
  expect(reader.push(tarHeaders({ ...entry, type: 'file', size }))).toMatchObject([{ entry: { size } }]);
});

it('stands whatever comes', () => {
  const whole = archive(
    pax({ path: 'x'.repeat(150), mtime: '-1.5', uid: '3000000' }),
    { name: 'short', body: 'some text' },
    { name: 'link', type: '2', link: 'elsewhere' },
    { name: 'folder/', type: '5' },
  );
  const change = fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 }));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), fc.boolean(), (changes, mend) => {
      const data = Buffer.from(whole);
      for (const [at, byte] of changes) {
        data[at] = byte;
        // Half of them with a checksum that holds, to get at what lies behind it.
        const start = at - (at % 512);
        if (mend) {
          const sum = data
            .subarray(start, start + 512)
            .reduce((all, it, n) => all + (n >= 148 && n < 156 ? 32 : it), 0);
          data.write(sum.toString(8).padStart(6, '0'), start + 148, 'latin1');
        }
      }
      try {
        read(data, 333);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ARCHIVE_INVALID' });
      }
    }),
    { numRuns: 500 },
  );
});

describe('an archive is refused', () => {
  it.each([
    ['a wrong checksum', archive({ name: 'f', body: 'x', checksumOff: 1 }), 'checksum'],
    ['another format', archive({ name: 'f', magic: 'ustar  \0' }), 'not of the format ustar'],
    ['a device', archive({ name: 'f', type: '3' }), 'a device or a fifo'],
    ['a fifo', archive({ name: 'f', type: '6' }), 'a device or a fifo'],
    ['an unknown type', archive({ name: 'f', type: 'L' }), 'of the type "L"'],
    ['a NUL inside a name', archive({ name: 'f\0hidden' }), 'NUL'],
    ['a NUL in a long name', archive(pax({ path: 'f\0hidden' }), { name: 'f' }), 'control character'],
    ['a control character', archive({ name: 'f\u001b[2J' }), 'control character'],
    ['a control character in a link', archive({ name: 'f', type: '2', link: 'a\nb' }), 'control character'],
    ['no name', archive({ name: '' }), 'no name'],
    ['a link to nothing', archive({ name: 'f', type: '2' }), 'points to nothing'],
    ['a file with a link', archive({ name: 'f', link: 'x' }), 'has a link'],
    ['a folder with a size', archive({ name: 'f/', type: '5', body: 'x' }), 'has a size'],
    ['a size that is no number', archive({ name: 'f', size: Number.NaN }), 'size is not a number'],
    ['a size beyond all', archive(pax({ size: '9999999999999999' }), { name: 'f' }), 'size is out of its range'],
    ['a negative size', archive(pax({ size: '-1' }), { name: 'f' }), 'size is out of its range'],
    ['a name too long', archive(pax({ path: 'x'.repeat(5000) }), { name: 'f' }), 'has 5000 bytes'],
    ['a pax header too long', archive(pax({ path: 'x'.repeat(20_000) }), { name: 'f' }), 'a pax header has'],
    ['a pax header of nonsense', archive(forge({ name: 'p', type: 'x', body: '99 path=f\n' })), 'malformed'],
    [
      'a pax header that says nothing known',
      archive(pax({ 'SCHILY.xattr.user.x': '1' }), { name: 'f' }),
      'not expected',
    ],
    ['two pax headers', archive(pax({ uid: '1' }), pax({ uid: '2' }), { name: 'f' }), 'follows another'],
    ['a pax header at the end', archive(pax({ uid: '1' })), 'ends after a pax header'],
    ['a body that is longer than said', archive({ name: 'f', body: Buffer.alloc(600, 'x'), size: 10 }), 'checksum'],
    ['a body that is shorter than said', archive({ name: 'f', body: 'x', size: 5000 }), 'cut short'],
    ['no end', forge({ name: 'f', body: 'x' }), 'cut short'],
    ['half an end', Buffer.concat([forge({ name: 'f' }), trailer.subarray(512)]), 'cut short'],
    [
      'an entry after a zero block',
      Buffer.concat([trailer.subarray(512), forge({ name: 'f' }), trailer]),
      'follows its end',
    ],
    ['nothing at all', Buffer.alloc(0), 'cut short'],
  ])('%s', (_name, data, words) => {
    expect(problem(data)).toContain(words);
    if (data.length > 0) expect(problem(data, 100)).toContain(words);
  });
});
