import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { architectureOf } from '../../../../src/images/host-architecture.ts';
import { importRoot, type ImportOptions } from '../../../../src/images/roots/import.ts';
import type { RootImage } from '../../../../src/images/roots/root-image.ts';
import { findRoot, listRoots } from '../../../../src/images/roots/root-store.ts';
import { requireSameArchitecture, storedImage } from '../../../../src/sandbox/root-image.ts';
import { archive, pax } from '../../../fakes/tar.ts';
import { asFolder, asTar, layout, longName, type Made, own, saved, types } from './oci-fixture.ts';

let work: string;
let store: string;

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'import-'));
  store = path.join(work, 'store');
});
afterEach(() => rmSync(work, { recursive: true }));

/** Imports bytes as a file of this name. */
function imported(bytes: Buffer, options: Partial<ImportOptions> = {}): Promise<RootImage> {
  const source = path.join(work, 'Source.tar');
  writeFileSync(source, bytes);
  return importRoot({ store, source, ...options });
}

/** The files of an image, as erofs-utils see them. */
function contentOf({ file }: RootImage): string {
  const out = path.join(work, 'out');
  rmSync(out, { recursive: true, force: true });
  execFileSync('fsck.erofs', [`--extract=${out}`, '--preserve', file], { stdio: 'pipe' });
  return out;
}

/** What the extraction above doesn't do: hard links. Neither shows set-id bits: the kernel does (test/vm/images.test.ts). */
function inodeOf({ file }: RootImage, name: string): Record<'number' | 'links' | 'uid' | 'mode', number> {
  const text = execFileSync('dump.erofs', [`--path=${name}`, file], { encoding: 'utf8' });
  const [number, links] = /NID: (\d+)\s+Links: (\d+)/.exec(text)?.slice(1).map(Number) ?? [];
  const [, uid] = /Uid: (\d+)/.exec(text) ?? [];
  const [, mode] = /Access: (\d+)/.exec(text) ?? [];
  return { number: number ?? 0, links: links ?? 0, uid: Number(uid), mode: Number.parseInt(mode ?? '', 8) };
}

const base = archive(
  { name: 'etc/', type: '5' },
  { name: 'etc/passwd', body: 'root:x:0:0::/:/bin/sh\n' },
  { name: 'etc/gone', body: 'x' },
  { name: 'opt/old/', type: '5' },
  { name: 'opt/old/file', body: 'x' },
  { name: 'bin/', type: '5' },
  { name: 'bin/tool', body: 'tool', mode: 0o4755, uid: 1000 },
  { name: 'bin/same', type: '1', link: 'bin/tool' },
  { name: 'lib', type: '2', link: 'usr/lib' },
);
const above = archive(
  { name: 'etc/.wh.gone' },
  { name: 'opt/old/.wh..wh..opq' },
  { name: 'opt/old/new', body: 'new' },
  { name: 'lib/inside', body: 'through the link' },
  pax({ 'SCHILY.xattr.security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex') }),
  { name: 'bin/capable', body: 'c' },
  longName(`${'d/'.repeat(60)}file`, { body: 'deep' }),
  { name: 'fifo', type: '6' },
  { name: 'dev/null', type: '3' },
);
const config = {
  Entrypoint: ['/bin/tool'],
  Cmd: ['-v'],
  Env: ['PATH=/bin', 'A=b=c'],
  User: 'www:2',
  WorkingDir: '/srv/app',
  Labels: { a: 'b' },
};
const whole: Made = { layers: [base, above], config };

const shipped: [string, () => Promise<RootImage>][] = [
  ['an OCI layout in a folder', () => importRoot({ store, source: asFolder(layout(whole), path.join(work, 'oci')) })],
  ['an OCI archive', () => imported(asTar(layout(whole)))],
  ['a packed OCI archive', () => imported(gzipSync(asTar(layout(whole))))],
  ['what docker save writes', () => imported(asTar(saved(whole)))],
  [
    'layers packed by zstd',
    () => {
      const pack = (layer: Buffer): Buffer => execFileSync('zstd', ['-c'], { input: layer });
      return imported(asTar(layout({ ...whole, pack, layerType: `${types.layer}+zstd` })));
    },
  ],
  ['layers that are not packed', () => imported(asTar(layout({ ...whole, pack: (it) => it, layerType: types.layer })))],
];

it.each(shipped)('imports %s', async (_, make) => {
  const image = await make();
  expect(image.name).toBe('app:1');
  expect(image.manifest.config).toEqual({
    entrypoint: ['/bin/tool'],
    cmd: ['-v'],
    env: ['PATH=/bin', 'A=b=c'],
    user: 'www:2',
    workdir: '/srv/app',
    labels: { a: 'b' },
  });
  const root = contentOf(image);
  const list = (name: string): string[] => readdirSync(path.join(root, name)).toSorted();
  expect(list('.')).toEqual(['bin', 'd', 'etc', 'fifo', 'lib', 'opt', 'srv', 'usr']);
  expect(list('etc')).toEqual(['passwd']);
  expect(list('opt/old')).toEqual(['new']);
  expect(list('srv')).toEqual(['app']);
  expect(readFileSync(path.join(root, 'usr/lib/inside'), 'utf8')).toBe('through the link');
  expect(readlinkSync(path.join(root, 'lib'))).toBe('usr/lib');
  expect(readFileSync(path.join(root, 'd/'.repeat(60), 'file'), 'utf8')).toBe('deep');
  const tool = inodeOf(image, '/bin/tool');
  expect(tool).toMatchObject({ links: 2, uid: 1000, mode: 0o755 });
  expect(inodeOf(image, '/bin/same')).toEqual(tool);
  expect(lstatSync(path.join(root, 'bin/tool')).mtimeMs).toBe(1e12);
  expect(lstatSync(path.join(root, 'fifo')).isFIFO()).toBe(true);
  expect(readFileSync(image.file).includes('capability')).toBe(true);
  expect(await findRoot(store, 'app:1')).toEqual(image);
});

it('imports a root file system from a tar archive and from a folder; equal ones are stored once', async () => {
  const first = await imported(base);
  const second = await imported(gzipSync(base), { name: 'other' });
  expect([first.name, second.name]).toEqual(['source', 'other']);
  expect(second.file).toBe(first.file);
  const folder = path.join(work, 'folder');
  mkdirSync(path.join(folder, 'sub'), { recursive: true });
  writeFileSync(path.join(folder, 'sub/file'), Buffer.alloc(10_000, 7));
  chmodSync(path.join(folder, 'sub/file'), 0o640);
  linkSync(path.join(folder, 'sub/file'), path.join(folder, 'again'));
  symlinkSync('/etc/shadow', path.join(folder, 'link'));
  const third = await importRoot({ store, source: folder });
  const root = contentOf(third);
  expect(lstatSync(path.join(root, 'again')).size).toBe(10_000);
  const file = inodeOf(third, '/sub/file');
  expect(file).toMatchObject({ links: 2, uid: 0, mode: 0o640 });
  expect(inodeOf(third, '/again')).toEqual(file);
  expect(readlinkSync(path.join(root, 'link'))).toBe('/etc/shadow');
  expect((await listRoots(store)).map(({ name }) => name)).toEqual(['folder', 'other', 'source']);
});

it('writes folders of thousands of files, and files of all sizes about a block', async () => {
  const names = Array.from({ length: 3000 }, (_, at) => `many/file-${at}`);
  const sizes = [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 1_048_577];
  const image = await imported(
    archive(
      ...names.map((name) => ({ name, body: name })),
      ...sizes.map((size) => ({ name: `size/${size}`, body: Buffer.alloc(size, 'x') })),
    ),
  );
  const root = contentOf(image);
  expect(readdirSync(path.join(root, 'many'))).toHaveLength(3000);
  for (const name of names) expect(readFileSync(path.join(root, name), 'utf8')).toBe(name);
  for (const size of sizes)
    expect(readFileSync(path.join(root, `size/${size}`)).equals(Buffer.alloc(size, 'x'))).toBe(true);
});

it('takes layers without padding and zeros at the end, as umoci makes them: their digests show that they are whole', async () => {
  const whole512 = archive({ name: 'etc/gone', body: 'x' }, { name: 'etc/passwd', body: 'abc' });
  const open = whole512.subarray(0, whole512.length - 1024 - 509);
  const root = contentOf(await imported(asTar(layout({ layers: [open] }))));
  expect(readdirSync(path.join(root, 'etc')).toSorted()).toEqual(['gone', 'passwd']);
});

it('imports one of several images by its name, and tells the names when none is given', async () => {
  const bytes = asTar(layout({ ...whole, names: ['one', 'two'] }));
  expect((await imported(bytes, { ref: 'two' })).name).toBe('two');
  await expect(imported(bytes)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', facts: { advice: /one, two/ } });
  await expect(imported(bytes, { ref: 'three' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
});

it('builds of one name at once both end whole', async () => {
  const [a, b] = await Promise.all([
    imported(base, { name: 'same' }),
    importRoot({ store, source: asFolder(layout(whole), path.join(work, 'oci')), name: 'same' }),
  ]);
  const found = await findRoot(store, 'same');
  expect([a.file, b.file]).toContain(found?.file);
  contentOf(a);
  contentOf(b);
});

it('takes an image for another architecture when that is asked for, and says so of it', async () => {
  const other = own === 'amd64' ? 'arm64' : 'amd64';
  const made: Made = { layers: [base], architecture: other };
  await expect(imported(asTar(layout(made)))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  const { linux } = architectureOf(other);
  expect(await imported(asTar(layout(made)), { name: 'foreign', arch: other })).toMatchObject({
    manifest: { architecture: linux },
  });
  await expect(imported(asTar(layout({ layers: [base] })), { arch: other })).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining(`not for linux/${other}`) as unknown,
  });
  const stored = await storedImage(store, 'foreign');
  expect(stored?.architecture).toBe(linux);
  expect(() => requireSameArchitecture(stored, other)).not.toThrow();
  expect(() => requireSameArchitecture(stored, undefined)).toThrow(/^INVALID_CONFIG: the image foreign is for/);
});
