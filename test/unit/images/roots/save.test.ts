import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  chmodSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { importImage } from '../../../../src/sandbox/root-images.ts';
import { saveImage } from '../../../../src/sandbox/save-image.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { places } from '../../../../src/state/paths.ts';
import { archive, pax } from '../../../fakes/tar.ts';
import { asTar, layout } from './oci-fixture.ts';

let work: string;
let saved: string;

const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
const layer = archive(
  { name: './', type: '5', mode: 0o711, uid: 3 },
  { name: 'etc/', type: '5' },
  { name: 'etc/passwd', body: 'root:x:0:0::/:/bin/sh\n', mode: 0o640, uid: 70_000, mtime: 1_700_000_000 },
  { name: 'etc/empty', body: '' },
  { name: 'big', body: Buffer.alloc(3_000_001, 'abc') },
  { name: 'big-again', type: '1', link: 'big' },
  { name: 'link', type: '2', link: '../etc/passwd' },
  { name: 'pipe', type: '6', mode: 0o600 },
  { name: 'n'.repeat(90), type: '5' },
  pax({ path: `${'n'.repeat(90)}/${'m'.repeat(200)}` }),
  { name: 'x', body: 'long' },
  pax({ 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.user.note': Buffer.from([0, 10, 255]) }),
  { name: 'ping', body: 'x', mode: 0o4755 },
  ...Array.from({ length: 500 }, (_, at) => ({ name: `many/file-${at}`, body: `${at}` })),
);
const config = {
  Entrypoint: ['/ping'],
  Cmd: ['-h'],
  Env: ['PATH=/'],
  User: '70000:1',
  WorkingDir: '/etc',
  Labels: { version: '1' },
};

beforeEach(async () => {
  work = mkdtempSync(path.join(tmpdir(), 'save-'));
  saved = path.join(work, 'saved.tar');
  const source = path.join(work, 'source.tar');
  writeFileSync(source, asTar(layout({ layers: [layer], config })));
  await importImage(source, { name: 'app:1' });
});
afterEach(() => {
  rmSync(work, { recursive: true });
  rmSync(places().roots, { recursive: true, force: true });
});

/** The digest of the one layer that an image is saved as. */
async function layerOf(name: string): Promise<string> {
  const file = path.join(work, 'layer-of.tar');
  await saveImage(name, file);
  const [{ Layers }] = JSON.parse(execFileSync('tar', ['-xOf', file, 'manifest.json'], { encoding: 'utf8' })) as [
    { Layers: string[] },
  ];
  rmSync(file);
  return Layers[0] ?? '';
}

it('saves an image that is the same when it is imported again, and the same bytes each time', async () => {
  const events: string[] = [];
  await saveImage('app:1', saved, { onEvent: ({ phase }) => events.push(phase) });
  expect(new Set(events)).toEqual(new Set(['layers', 'write']));
  expect(readdirSync(work).toSorted()).toEqual(['saved.tar', 'source.tar']);
  const first = await importImage(path.join(work, 'source.tar'), { name: 'first' });
  const again = await importImage(saved);
  expect(again.name).toBe('app:1');
  // The order of files on disk is that of the archive: the same files are one layer all the same.
  expect(await layerOf('app:1')).toBe(await layerOf('first'));
  expect(again.manifest.config).toEqual(first.manifest.config);
  const stream = new PassThrough();
  const [bytes] = await Promise.all([buffer(stream), saveImage('first', stream)]);
  expect(bytes.length).toBe(readFileSync(saved).length);
  // Docker's description of the same, which versions without layouts read.
  const described = JSON.parse(
    execFileSync('tar', ['-xOf', saved, 'manifest.json'], { encoding: 'utf8' }),
  ) as unknown[];
  expect(described).toMatchObject([{ RepoTags: ['app:1'] }]);
});

it('saves what skopeo takes', async ({ skip }) => {
  if (!existsSync('/usr/bin/skopeo')) return skip('this host has no skopeo');
  await saveImage('app:1', saved);
  const copied = path.join(work, 'copied');
  const policy = path.join(work, 'policy.json');
  writeFileSync(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  execFileSync('skopeo', ['--policy', policy, 'copy', '-q', `oci-archive:${saved}`, `oci:${copied}:app`], {
    stdio: 'pipe',
  });
  const archived = path.join(work, 'docker.tar');
  execFileSync(
    'skopeo',
    ['--policy', policy, 'copy', '-q', `docker-archive:${saved}`, `docker-archive:${archived}:app:2`],
    {
      stdio: 'pipe',
    },
  );
  const first = await importImage(path.join(work, 'source.tar'), { name: 'first' });
  for (const source of [copied, archived]) {
    const { manifest } = await importImage(source, { name: 'copied' });
    expect(await layerOf('copied')).toBe(await layerOf('first'));
    expect(manifest.config).toEqual(first.manifest.config);
  }
});

it('leaves nothing when it can not be saved', async () => {
  expect(await codeOf(saveImage('none', saved))).toBe('IMAGE_NOT_FOUND');
  expect(await codeOf(saveImage('default', saved))).toBe('INVALID_NAME');
  expect(await codeOf(saveImage('app:1', path.join(work, 'no', 'folder')))).toBe('IO');
  expect(await codeOf(saveImage('app:1', saved, { signal: AbortSignal.abort() }))).toBe('ABORTED');
  const full = await failure(saveImage('app:1', '/dev/full/x'));
  expect(full.code).toBe('IO');
  const broken = new PassThrough();
  broken.destroy();
  expect(await codeOf(saveImage('app:1', broken))).toBe('IO');
  expect(readdirSync(work)).toEqual(['source.tar']);
});

it('tells an image that is damaged, or that another program wrote', async () => {
  const { file, manifest } = await importImage(path.join(work, 'source.tar'), { name: 'damaged' });
  const bytes = readFileSync(file);
  chmodSync(file, 0o644);
  for (const [at, value] of [
    [1024, 1],
    [1024 + 80, 2],
    [1024 + 8, 2],
    [1152, 0],
  ] as const) {
    const wrong = Buffer.from(bytes);
    wrong.writeUInt8(value, at);
    writeFileSync(file, wrong);
    expect(['UNSUPPORTED', 'IMAGE_INVALID']).toContain(await codeOf(saveImage('damaged', saved)));
  }
  // Whatever single byte is wrong, it ends, with an archive or a typed error.
  for (let at = 1024; at < 4096; at += 61) {
    const wrong = Buffer.from(bytes);
    wrong.writeUInt8(wrong.readUInt8(at) ^ 0xff, at);
    writeFileSync(file, wrong);
    const ended = await saveImage('damaged', saved).then(
      () => 'saved',
      (error: unknown) => (error as { code: string }).code,
    );
    expect(['saved', 'UNSUPPORTED', 'IMAGE_INVALID']).toContain(ended);
  }
  writeFileSync(file, bytes);
  truncateSync(file, manifest.root.size - 1);
  // Cut short, it is no image any more.
  expect(await codeOf(saveImage('damaged', saved))).toBe('IMAGE_NOT_FOUND');
});

it('saves the files alone, which are the same image again', async () => {
  expect(await saveImage('app:1', saved, { format: 'tar' })).toBe('tar');
  const names = execFileSync('tar', ['-tf', saved], { encoding: 'utf8' }).split('\n');
  expect(names).toContain('./etc/passwd');
  await importImage(saved, { name: 'files' });
  expect(await layerOf('files')).toBe(await layerOf('app:1'));
});

it('saves the file system of any image as a disk, and one of a disk so by itself', async () => {
  const { file } = await importImage(path.join(work, 'source.tar'), { name: 'app:2' });
  expect(await saveImage('app:2', saved, { format: 'disk' })).toBe('disk');
  expect(readFileSync(saved).equals(readFileSync(file))).toBe(true);
  const ext4 = path.join(work, 'root.ext4');
  execFileSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', ext4, '8M'], { stdio: 'pipe' });
  const disk = await importImage(ext4, { name: 'disk' });
  expect(await saveImage('disk', saved)).toBe('disk');
  expect(readFileSync(saved).equals(readFileSync(ext4))).toBe(true);
  expect(statSync(saved).blocks * 512).toBeLessThan(4 << 20);
  expect((await importImage(saved, { name: 'again' })).manifest.root).toEqual(disk.manifest.root);
  const stream = new PassThrough();
  const [bytes] = await Promise.all([buffer(stream), saveImage('disk', stream)]);
  expect(bytes.equals(readFileSync(ext4))).toBe(true);
  expect(await codeOf(saveImage('disk', saved, { format: 'oci' }))).toBe('UNSUPPORTED');
  expect(await codeOf(saveImage('disk', saved, { format: 'tar' }))).toBe('UNSUPPORTED');
  expect(await codeOf(saveImage('disk', saved, { format: 'zip' as 'tar' }))).toBe('INVALID_ARGUMENT');
  chmodSync(disk.file, 0o644);
  const bad = readFileSync(disk.file);
  bad.writeUInt8(bad.readUInt8(4096) ^ 0xff, 4096);
  writeFileSync(disk.file, bad);
  expect(await codeOf(saveImage('disk', path.join(work, 'damaged.img')))).toBe('IMAGE_INVALID');
  expect(readdirSync(work).toSorted()).toEqual(['root.ext4', 'saved.tar', 'source.tar']);
});

it('refuses what a layer can not hold', async () => {
  const source = path.join(work, 'plain.tar');
  writeFileSync(source, archive({ name: '.wh.passwd', body: 'x' }));
  await importImage(source, { name: 'plain', asRoot: true });
  const { message } = await failure(saveImage('plain', saved));
  expect(message).toMatch(/can't hold a file named ".wh.passwd"/);
});
