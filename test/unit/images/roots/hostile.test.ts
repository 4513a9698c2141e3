import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { importRoot, type ImportOptions } from '../../../../src/images/roots/import.ts';
import { findRoot } from '../../../../src/images/roots/root-store.ts';
import { failure } from '../../../fakes/failure.ts';
import { archive, forge, type Forged, pax } from '../../../fakes/tar.ts';
import { asFolder, asTar, digestOf, layout, type Made, own, saved, types } from './oci-fixture.ts';

let work: string;
let store: string;

beforeEach(async () => {
  work = mkdtempSync(path.join(tmpdir(), 'hostile-'));
  store = path.join(work, 'store');
  writeFileSync(path.join(work, 'good.tar'), archive({ name: 'file', body: 'good' }));
  await importRoot({ store, source: path.join(work, 'good.tar') });
});
afterEach(() => rmSync(work, { recursive: true }));

/** Nothing but the image that was there is there, and that is whole. */
async function expectIntact(): Promise<void> {
  expect(readdirSync(store).toSorted()).toEqual(['files', 'lock-token', 'names']);
  expect(readdirSync(path.join(store, 'names'))).toEqual(['good.json']);
  const good = await findRoot(store, 'good');
  expect(readdirSync(path.join(store, 'files'))).toEqual([path.basename(good?.file ?? '')]);
}

async function refused(
  bytes: Buffer,
  options: Partial<ImportOptions> = {},
): Promise<{ code: string; message: string }> {
  const source = path.join(work, 'bad.tar');
  writeFileSync(source, bytes);
  const { code, message } = await failure(importRoot({ store, source, ...options }));
  await expectIntact();
  return { code, message };
}

const file: Forged = { name: 'file', body: 'x'.repeat(5000) };
const tars: [string, Buffer, RegExp][] = [
  ['cut short in a file', archive(file).subarray(0, 3000), /cut short/],
  ['cut short between two files', Buffer.concat([forge(file)]), /cut short/],
  ['cut short in a header', archive(file, file).subarray(0, 6000), /cut short/],
  ['with a wrong checksum', archive(file, { name: 'b', checksumOff: 1 }), /checksum/],
  ['with an absolute name', archive({ name: '/etc/passwd', body: 'x' }), /"\/etc\/passwd" is absolute/],
  ['with ..', archive({ name: 'a/../../b', body: 'x' }), /leads out/],
  ['with .. in an extended header', archive(pax({ path: '../b' }), file), /leads out/],
  ['with a hard link to the outside', archive({ name: 'a', type: '1', link: '../../etc/shadow' }), /leads out/],
  ['with an absolute hard link', archive({ name: 'a', type: '1', link: '/etc/shadow' }), /is absolute/],
  ['with a hard link to nothing', archive({ name: 'a', type: '1', link: 'none' }), /not there/],
  ['with a device', archive({ name: 'etc/disk', type: '4' }), /device outside \/dev/],
  ['with an unknown type', archive({ name: 'a', type: 'Q' }), /unknown type/],
  ['with one file twice', archive(file, file), /twice/],
  ['with a loop of links', archive({ name: 'a', type: '2', link: 'a' }, { name: 'a/b' }), /too many links/],
  ['with a path through a file', archive(file, { name: 'file/b' }), /no folder/],
  [
    'with a damaged extended header',
    archive(forge({ name: 'p', type: 'x', body: '99 path=a\n' }), file),
    /extended header/,
  ],
  ['with a huge extended header', archive(pax({ path: 'x'.repeat(2 << 20) }), file), /too large/],
  ['with a name that is too long', archive(pax({ path: 'x'.repeat(300) }), file), /too long/],
  ['with a size that no archive has', archive(pax({ size: '9007199254740000' }), file), /cut short/],
  ['with an impossible owner', archive(pax({ uid: '4294967295' }), file), /impossible user/],
  ['with too large an attribute', archive(pax({ 'SCHILY.xattr.user.a': 'x'.repeat(70_000) }), file), /attributes/],
  ['that holds nothing', archive(), /no files/],
  ['that is none', Buffer.from('#!/bin/sh\n'.repeat(100)), /no tar archive/],
  ['that is empty', Buffer.alloc(0), /cut short/],
];
it.each(tars)('refuses a tar archive %s', async (_, bytes, words) => {
  const { code, message } = await refused(bytes);
  expect(code).toBe('IMAGE_INVALID');
  expect(message).toMatch(words);
});

it('keeps links that lead outside inside: nothing is written to the host', async () => {
  const outside = path.join(work, 'outside');
  mkdirSync(outside);
  const source = path.join(work, 'links.tar');
  const up = '../'.repeat(12);
  writeFileSync(
    source,
    archive(
      { name: 'out', type: '2', link: `${up}${outside.slice(1)}` },
      { name: 'out/a', body: 'x' },
      { name: 'abs', type: '2', link: outside },
      { name: 'abs/b', body: 'x' },
    ),
  );
  const { file: made } = await importRoot({ store, source });
  expect(readdirSync(outside)).toEqual([]);
  const out = path.join(work, 'out');
  execFileSync('fsck.erofs', [`--extract=${out}`, made], { stdio: 'pipe' });
  expect(readdirSync(path.join(out, outside)).toSorted()).toEqual(['a', 'b']);
});

it('refuses bombs: packed zeros, and files of a size that only their headers have', async () => {
  const zeros = gzipSync(archive({ name: 'zeros', body: Buffer.alloc(64 << 20) }));
  expect(await refused(zeros, { maxBytes: 1 << 20 })).toMatchObject({ code: 'IMAGE_INVALID' });
  const many = archive(...Array.from({ length: 20 }, (_, at) => ({ name: `f${at}`, body: Buffer.alloc(100_000) })));
  const { code, message } = await refused(many, { maxBytes: 1 << 20 });
  expect([code, message]).toEqual(['IMAGE_INVALID', expect.stringMatching(/larger/)]);
  const packedLayers = { layers: [archive({ name: 'zeros', body: Buffer.alloc(64 << 20) })] };
  expect(await refused(asTar(layout(packedLayers)), { maxBytes: 1 << 20 })).toMatchObject({ code: 'IMAGE_INVALID' });
});

const layer = archive({ name: 'file', body: 'x' });
/** A layout one of whose blobs was changed. */
function tampered(made: Made, which: RegExp, change: (bytes: Buffer) => Buffer | undefined): Buffer {
  const files = layout(made);
  for (const [name, bytes] of files) {
    if (!which.test(name) || !which.test(name)) continue;
    const changed = change(bytes);
    if (changed === undefined) files.delete(name);
    else files.set(name, changed);
  }
  return asTar(files);
}
const layerBlob = new RegExp(digestOf(gzipSync(layer)).slice(7));
const flipped = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte, at) => (at === 20 ? byte ^ 1 : byte)));

const layouts: [string, () => Buffer, string, RegExp][] = [
  [
    'whose layer has another digest',
    () => tampered({ layers: [layer] }, layerBlob, flipped),
    'IMAGE_INVALID',
    /digest|unpacked/,
  ],
  [
    'whose layer is missing',
    () => tampered({ layers: [layer] }, layerBlob, () => undefined),
    'IMAGE_INVALID',
    /missing/,
  ],
  [
    'whose layer has another size',
    () => tampered({ layers: [layer] }, layerBlob, (it) => it.subarray(1)),
    'IMAGE_INVALID',
    /bytes, not/,
  ],
  [
    'whose unpacked layer has another digest',
    () => asTar(layout({ layers: [layer], diffIds: [digestOf(Buffer.from('x'))] })),
    'IMAGE_INVALID',
    /digest/,
  ],
  [
    'whose configuration has fewer layers',
    () => asTar(layout({ layers: [layer], diffIds: [] })),
    'IMAGE_INVALID',
    /layers/,
  ],
  [
    'with an unknown layer',
    () => asTar(layout({ layers: [layer], layerType: 'application/x-rar' })),
    'UNSUPPORTED',
    /x-rar/,
  ],
  [
    'with an unknown configuration',
    () => asTar(layout({ layers: [layer], configType: 'application/vnd.helm' })),
    'UNSUPPORTED',
    /helm/,
  ],
  [
    'with an unknown manifest',
    () => asTar(layout({ layers: [layer], manifestType: 'text/plain' })),
    'UNSUPPORTED',
    /text\/plain/,
  ],
  [
    'for another processor',
    () => asTar(layout({ layers: [layer], architecture: 's390x' })),
    'UNSUPPORTED',
    /linux\/s390x/,
  ],
  ['for another system', () => asTar(layout({ layers: [layer], os: 'windows' })), 'UNSUPPORTED', /windows/],
  [
    'whose index is no JSON',
    () => tampered({ layers: [layer] }, /^index/, () => Buffer.from('{')),
    'IMAGE_INVALID',
    /no JSON/,
  ],
  [
    'whose index is something else',
    () => tampered({ layers: [layer] }, /^index/, () => Buffer.from('[]')),
    'IMAGE_INVALID',
    /wrong/,
  ],
  [
    'with a variable that has no name',
    () => asTar(layout({ layers: [layer], config: { Env: ['=x'] } })),
    'IMAGE_INVALID',
    /variable/,
  ],
  [
    'whose layer is hostile',
    () => asTar(layout({ layers: [archive({ name: '../x' })] })),
    'IMAGE_INVALID',
    /leads out/,
  ],
];
it.each(layouts)('refuses an OCI image %s', async (_, make, code, words) => {
  expect(await refused(make())).toMatchObject({ code, message: expect.stringMatching(words) as unknown });
});

it('refuses what docker save would never write', async () => {
  const good: Made = { layers: [layer] };
  const without = saved(good);
  without.delete('layer0/layer.tar');
  expect(await refused(asTar(without))).toMatchObject({ code: 'IMAGE_INVALID' });
  const names = saved(good);
  names.set('manifest.json', Buffer.from(JSON.stringify([{ Config: '../../etc/passwd', Layers: [] }])));
  expect(await refused(asTar(names))).toMatchObject({
    code: 'IMAGE_INVALID',
    message: expect.stringMatching(/elsewhere/) as unknown,
  });
  expect(await refused(asTar(saved({ ...good, diffIds: [digestOf(Buffer.from('x'))] })))).toMatchObject({
    code: 'IMAGE_INVALID',
  });
});

it('refuses an index for other platforms alone, naming them', async () => {
  const files = layout({ layers: [layer] });
  const index = JSON.parse(String(files.get('index.json'))) as { manifests: Record<string, unknown>[] };
  const other = own === 'amd64' ? 'arm64' : 'amd64';
  const inner = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      manifests: [{ ...index.manifests[0], platform: { os: 'linux', architecture: other } }],
    }),
  );
  files.set(`blobs/sha256/${digestOf(inner).slice(7)}`, inner);
  const top = { mediaType: types.index, digest: digestOf(inner), size: inner.length };
  files.set('index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [top] })));
  expect(await refused(asTar(files))).toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringMatching(`linux/${other}`) as unknown,
  });
});

it('refuses bad names, sources that are not there and devices in folders', async () => {
  const source = path.join(work, 'good.tar');
  expect((await failure(importRoot({ store, source, name: '../x' }))).code).toBe('INVALID_NAME');
  expect((await failure(importRoot({ store, source, name: 'default' }))).code).toBe('INVALID_NAME');
  expect((await failure(importRoot({ store, source, maxBytes: 0 }))).code).toBe('INVALID_ARGUMENT');
  expect((await failure(importRoot({ store, source, ref: 'x' }))).code).toBe('INVALID_ARGUMENT');
  expect((await failure(importRoot({ store, source: path.join(work, 'none') }))).code).toBe('FILE_NOT_FOUND');
  expect((await failure(importRoot({ store, source: '/dev/pts' }))).code).toBe('IMAGE_INVALID');
  const oci = asFolder(layout({ layers: [layer] }), path.join(work, 'oci'));
  rmSync(path.join(oci, 'index.json'));
  execFileSync('ln', ['-s', '/etc/passwd', path.join(oci, 'index.json')]);
  // A link is no descriptor: what is left is a folder like any other.
  expect((await importRoot({ store, source: oci })).manifest.config.cmd).toEqual([]);
});

it('leaves nothing when it is aborted half-way', async () => {
  const source = path.join(work, 'large.tar');
  writeFileSync(source, archive({ name: 'a', body: Buffer.alloc(20 << 20) }));
  const abort = new AbortController();
  const onEvent: ImportOptions['onEvent'] = ({ phase, done = 0 }) => {
    if (phase === 'write' && done > 0) abort.abort();
  };
  expect((await failure(importRoot({ store, source, signal: abort.signal, onEvent }))).code).toBe('ABORTED');
  await expectIntact();
});

it('says that no space is left, and leaves nothing', async ({ skip }) => {
  const small = path.join(work, 'small');
  mkdirSync(small);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', small], { stdio: 'pipe' });
  } catch {
    return skip('only root may make a small file system');
  }
  try {
    const source = path.join(work, 'large.tar');
    writeFileSync(source, archive({ name: 'a', body: Buffer.alloc(16 << 20, 'x') }));
    for (const bytes of [
      archive({ name: 'a', body: Buffer.alloc(16 << 20, 'x') }),
      gzipSync(archive({ name: 'a', body: Buffer.alloc(16 << 20, 'x') })),
    ]) {
      writeFileSync(source, bytes);
      const error = await failure(importRoot({ store: path.join(small, 'store'), source }));
      expect([error.code, error.facts.errno]).toEqual(['IO', 'ENOSPC']);
      expect(readdirSync(path.join(small, 'store', 'files'))).toEqual([]);
      expect(readdirSync(path.join(small, 'store')).filter((it) => it.startsWith('.'))).toEqual([]);
    }
  } finally {
    execFileSync('umount', [small]);
  }
  expect(existsSync(path.join(small, 'store'))).toBe(false);
});
