import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { importRoot, type ImportOptions } from '../../../../src/images/roots/import.ts';
import type { RootImage } from '../../../../src/images/roots/root-image.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';

const mib = 1 << 20;
let work: string;
let store: string;
let ext4: string;

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'disk-'));
  store = path.join(work, 'store');
  const root = path.join(work, 'root');
  mkdirSync(root);
  writeFileSync(path.join(root, 'file'), 'content');
  ext4 = path.join(work, 'root.ext4');
  execFileSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', root, ext4, '8M'], { stdio: 'pipe' });
});
afterEach(() => rmSync(work, { recursive: true }));

function imported(source: string, options: Partial<ImportOptions> = {}): Promise<RootImage> {
  return importRoot({ store, source, ...options });
}

/** A disk of this content, in a file of this name. */
function disk(name: string, bytes: Buffer): string {
  const file = path.join(work, name);
  writeFileSync(file, bytes);
  return file;
}

function qemuImg(...words: string[]): void {
  execFileSync('qemu-img', words, { stdio: 'pipe' });
}

/** A master boot record with partitions, each of a sector and a number of them. */
function masterRecord(...partitions: [sector: number, sectors: number][]): Buffer {
  const record = Buffer.alloc(mib);
  record.writeUInt16LE(0xaa55, 510);
  for (const [index, [sector, sectors]] of partitions.entries()) {
    record.writeUInt8(0x83, 446 + index * 16 + 4);
    record.writeUInt32LE(sector, 446 + index * 16 + 8);
    record.writeUInt32LE(sectors, 446 + index * 16 + 12);
  }
  return record;
}

/** The same as a GUID partition table. */
function guidTable(...partitions: [sector: number, sectors: number][]): Buffer {
  const table = masterRecord([1, 0xffff_ffff]);
  table.write('EFI PART', 512, 'latin1');
  table.writeBigUInt64LE(2n, 512 + 72);
  table.writeUInt32LE(128, 512 + 80);
  table.writeUInt32LE(128, 512 + 84);
  for (const [index, [sector, sectors]] of partitions.entries()) {
    table.fill(1, 1024 + index * 128, 1024 + index * 128 + 16);
    table.writeBigUInt64LE(BigInt(sector), 1024 + index * 128 + 32);
    table.writeBigUInt64LE(BigInt(sector + sectors - 1), 1024 + index * 128 + 40);
  }
  return table;
}

it('takes the file system of a raw disk as it is, without room for its zeros', async () => {
  const image = await imported(ext4);
  expect(image).toMatchObject({
    name: 'root',
    manifest: { root: { type: 'ext4', size: 8 * mib }, source: 'root.ext4' },
  });
  expect(readFileSync(image.file).equals(readFileSync(ext4))).toBe(true);
  expect(statSync(image.file).blocks * 512).toBeLessThan(4 * mib);
});

it('gives every image whole pages of 2 MiB, which Cloud Hypervisor shows as memory', async () => {
  const small = path.join(work, 'small.ext4');
  execFileSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', small, '1M'], { stdio: 'pipe' });
  for (const source of [small, path.join(work, 'root')]) {
    const { file, manifest } = await imported(source);
    expect([statSync(file).size, manifest.root.size]).toEqual([2 * mib, 2 * mib]);
  }
});

it('takes what mkfs.erofs made', async () => {
  const erofs = path.join(work, 'made.erofs');
  execFileSync('mkfs.erofs', [erofs, path.join(work, 'root')], { stdio: 'pipe' });
  expect((await imported(erofs)).manifest.root.type).toBe('erofs');
});

it('takes the partition that has a file system, or the one that is named', async () => {
  const content = readFileSync(ext4);
  const sectors = content.length / 512;
  const first = [2048, 2048] as [number, number];
  const second = [4096, sectors] as [number, number];
  for (const [name, table] of [
    ['mbr', masterRecord(first, second)],
    ['gpt', guidTable(first, second)],
  ] as const) {
    const one = disk(`${name}.img`, Buffer.concat([table, Buffer.alloc(mib), content, Buffer.alloc(mib)]));
    const image = await imported(one);
    expect(image.name).toBe(name);
    expect(readFileSync(image.file).equals(content)).toBe(true);
    expect(await codeOf(imported(one, { ref: '1' }))).toBe('INVALID_ARGUMENT');
  }
  const two = disk('two.img', Buffer.concat([guidTable([2048, sectors], [2048 + sectors, sectors]), content, content]));
  expect((await failure(imported(two))).message).toMatch(/several partitions with a file system: 1, 2/);
  expect(readFileSync((await imported(two, { ref: '2' })).file).equals(content)).toBe(true);
});

it('takes a qcow2 disk, and one that builds on another only when that is named', async () => {
  const qcow2 = path.join(work, 'disk.qcow2');
  qemuImg('convert', '-f', 'raw', '-O', 'qcow2', '-c', ext4, qcow2);
  const image = await imported(qcow2);
  expect(image.name).toBe('disk');
  expect(readFileSync(image.file).equals(readFileSync(ext4))).toBe(true);
  const above = path.join(work, 'above.qcow2');
  qemuImg('create', '-f', 'qcow2', '-b', ext4, '-F', 'raw', above);
  expect(await codeOf(imported(above))).toBe('FILE_INVALID');
  expect((await imported(above, { backing: { path: ext4, format: 'raw' } })).manifest.root).toEqual(
    image.manifest.root,
  );
  const third = path.join(work, 'third.qcow2');
  qemuImg('create', '-f', 'qcow2', '-b', above, '-F', 'qcow2', third);
  // The one that is named builds on a file that nobody named.
  expect(await codeOf(imported(third, { backing: { path: above, format: 'qcow2' } }))).toBe('FILE_INVALID');
  expect(await codeOf(imported(ext4, { backing: { path: ext4, format: 'raw' } }))).toBe('INVALID_ARGUMENT');
  const data = path.join(work, 'external.qcow2');
  qemuImg('create', '-f', 'qcow2', '-o', `data_file=${path.join(work, 'data.raw')}`, data, '8M');
  expect(await codeOf(imported(data))).toBe('FILE_INVALID');
});

it('refuses what no guest could mount, and stores nothing', async () => {
  const dirty = Buffer.from(readFileSync(ext4));
  dirty.writeUInt32LE(dirty.readUInt32LE(1024 + 0x60) | 4, 1024 + 0x60);
  const header = Buffer.alloc(4096);
  header.writeUInt32BE(0x514649fb, 0);
  header.writeUInt32BE(3, 4);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(2n ** 50n, 24);
  const cases: [file: string, code: string, options?: Partial<ImportOptions>][] = [
    [disk('dirty.img', dirty), 'IMAGE_INVALID'],
    [disk('none.img', masterRecord([2048, 2048])), 'IMAGE_INVALID'],
    [disk('beyond.img', masterRecord([1, 0xffff_0000])), 'IMAGE_INVALID'],
    [disk('noise.img', Buffer.alloc(mib, 'noise')), 'IMAGE_INVALID'],
    [disk('bomb.qcow2', header), 'IMAGE_INVALID'],
    [disk('cut.qcow2', header.subarray(0, 40)), 'FILE_INVALID'],
    [ext4, 'IMAGE_INVALID', { maxBytes: mib }],
    [ext4, 'INVALID_ARGUMENT', { ref: '1' }],
    [ext4, 'ABORTED', { signal: AbortSignal.abort() }],
  ];
  const huge = guidTable();
  huge.writeBigUInt64LE(2n ** 63n - 1n, 512 + 72);
  cases.push([disk('huge.img', huge), 'IMAGE_INVALID']);
  for (const [file, code, options] of cases)
    expect([file, await codeOf(imported(file, options))]).toEqual([file, code]);
  expect(readdirSync(path.join(store, 'files'))).toEqual([]);
  expect(readdirSync(path.join(store, 'names'))).toEqual([]);
});
