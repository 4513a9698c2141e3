import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArchiveRules } from '../../../../src/sandbox/copy/archive-rules.ts';
import { Baseline, guestMark, hostMark, nameOf } from '../../../../src/sandbox/copy/baseline.ts';
import { type MergedFolder, mergeArchive } from '../../../../src/sandbox/copy/merge.ts';
import { HostArchive } from '../../../../src/sandbox/copy/pack.ts';
import { codeOf } from '../../../fakes/failure.ts';
import { archive, type Forged, trailer } from '../../../fakes/tar.ts';

let folder: string;
let host: string;
let baseline: Baseline;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-merge-'));
  host = path.join(folder, 'host');
  mkdirSync(path.join(host, 'sub/deep'), { recursive: true });
  for (const name of ['one', 'two', 'sub/three', 'sub/deep/four']) write(name, name);
  symlinkSync('one', at('link'));
  writeFileSync(path.join(folder, 'outside'), 'untouched');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => path.join(host, name);
const write = (name: string, text: string): void => writeFileSync(at(name), text);
const read = (name: string): string => readFileSync(at(name), 'utf8');

/** The folder as a guest has it that has changed nothing yet: what an entry says, by its name. */
async function given(): Promise<Map<string, Forged>> {
  baseline = new Baseline();
  const entries = new Map<string, Forged>([['./', { name: './', type: '5' }]]);
  const files = new HostArchive(`${host}/.`, {
    top: '.',
    archive: false,
    followLink: false,
    onEntry: (entry, found) => {
      const name = nameOf(entry);
      if (name === '') return;
      // Forged headers have whole seconds.
      const mtime = 1_000_000_000;
      const forged = { ...entry, mtimeNs: BigInt(mtime) * 1_000_000_000n };
      baseline.set(name, { guest: guestMark(forged), host: hostMark(found, entry.link) });
      const { mode } = entry;
      const text = entry.name.toString();
      if (entry.type === 'folder') entries.set(text, { name: text, type: '5', mode });
      else if (entry.type === 'symlink')
        entries.set(text, { name: text, type: '2', link: entry.link.toString(), mode });
      else entries.set(text, { name: text, body: read(name), mode, mtime });
    },
  });
  for await (const piece of files) expect(piece.length).toBeGreaterThan(0);
  return entries;
}

const changed = (name: string, body: string): Forged => ({ name, body, mtime: 1_100_000_000 });

/** Brings back what a guest has, told depth first. */
async function merge(entries: Iterable<Forged>): Promise<MergedFolder> {
  const data = archive(...entries);
  const pieces = Array.from({ length: Math.ceil(data.length / 700) }, (_, n) => data.subarray(n * 700, n * 700 + 700));
  return mergeArchive(Readable.from(pieces), host, { archive: new ArchiveRules('.'), baseline, suffix: '.from-vm' });
}

/** The entries in an order in which an archive may tell them. */
function told(entries: Map<string, Forged>): Forged[] {
  return [...entries].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}

const nothing: MergedFolder = { written: 0, removed: 0, conflicts: [] };

describe('what only the guest has changed', () => {
  it('is written, made and removed; all else is not touched', async () => {
    const guest = await given();
    expect(await merge(told(guest))).toEqual(nothing);
    const before = statSync(at('two'), { bigint: true });
    guest.set('./one', changed('./one', 'new one'));
    guest.set('./more/', { name: './more/', type: '5', mode: 0o711 });
    guest.set('./more/file', { ...changed('./more/file', 'more'), mode: 0o4755 });
    guest.set('./link', { name: './link', type: '2', link: '/etc/passwd' });
    for (const name of ['./sub/deep/', './sub/deep/four']) guest.delete(name);
    expect(await merge(told(guest))).toEqual({ written: 4, removed: 2, conflicts: [] });
    expect([read('one'), read('more/file'), readlinkSync(at('link'))]).toEqual(['new one', 'more', '/etc/passwd']);
    expect([lstatSync(at('more')).mode & 0o7777, lstatSync(at('more/file')).mode & 0o7777]).toEqual([0o711, 0o755]);
    expect(readdirSync(at('sub'))).toEqual(['three']);
    expect(statSync(at('two'), { bigint: true })).toEqual(before);
    expect(await merge(told(guest))).toEqual(nothing);
  });

  it('a file takes the place of a folder, and a folder that of a file or a link', async () => {
    const guest = await given();
    for (const name of ['./sub/', './sub/three', './sub/deep/', './sub/deep/four', './one', './link'])
      guest.delete(name);
    guest.set('./sub', changed('./sub', 'a file now'));
    for (const name of ['./one/', './link/']) {
      guest.set(name, { name, type: '5' });
      guest.set(`${name}in`, changed(`${name}in`, 'in'));
    }
    expect((await merge(told(guest))).conflicts).toEqual([]);
    expect([read('sub'), read('one/in'), read('link/in')]).toEqual(['a file now', 'in', 'in']);
    expect(await merge(told(guest))).toEqual(nothing);
  });

  it('names of one file are that here, too', async () => {
    linkSync(at('one'), at('again'));
    const guest = await given();
    guest.set('./third', { name: './third', type: '1', link: './two', mtime: 1_100_000_000 });
    guest.delete('./again');
    expect(await merge(told(guest))).toEqual({ written: 1, removed: 1, conflicts: [] });
    expect(statSync(at('third')).ino).toBe(statSync(at('two')).ino);
    rmSync(at('two'));
    guest.set('./fourth', { name: './fourth', type: '1', link: './two', mtime: 1_100_000_000 });
    expect((await merge(told(guest))).conflicts).toEqual([{ path: at('fourth') }]);
  });
});

describe('what has changed here', () => {
  it('stays where the guest has changed nothing, also what was removed or is new', async () => {
    const guest = await given();
    write('one', 'of the host');
    write('fresh', 'fresh');
    rmSync(at('two'));
    rmSync(at('sub'), { recursive: true });
    expect(await merge(told(guest))).toEqual(nothing);
    expect([read('one'), readdirSync(host)]).toEqual(['of the host', ['fresh', 'link', 'one']]);
    // A folder that is gone here is made again for what the guest has changed in it.
    guest.set('./sub/deep/four', changed('./sub/deep/four', 'changed'));
    expect(await merge(told(guest))).toEqual({ written: 3, removed: 0, conflicts: [] });
    expect([read('sub/deep/four'), existsSync(at('sub/three'))]).toEqual(['changed', false]);
  });

  it("stays where the guest has changed it as well; the guest's is beside it", async () => {
    const guest = await given();
    write('one', 'of the host');
    guest.set('./one', changed('./one', 'of the guest'));
    const copy = at('one.from-vm');
    expect(await merge(told(guest))).toEqual({ written: 1, removed: 0, conflicts: [{ path: at('one'), copy }] });
    expect([read('one'), read('one.from-vm')]).toEqual(['of the host', 'of the guest']);
    expect(await merge(told(guest))).toEqual(nothing);
    guest.set('./one', { ...changed('./one', 'once more'), mtime: 1_200_000_000 });
    expect((await merge(told(guest))).conflicts).toEqual([{ path: at('one'), copy }]);
    expect([read('one'), read('one.from-vm')]).toEqual(['of the host', 'once more']);
    // That copy is a file like any other.
    write('one.from-vm', 'changed here');
    guest.set('./one', { ...changed('./one', 'and again'), mtime: 1_300_000_000 });
    expect((await merge(told(guest))).conflicts).toEqual([{ path: at('one'), copy: `${copy}.2` }]);
    guest.delete('./one');
    expect(await merge(told(guest))).toEqual({ ...nothing, removed: 1 });
    expect(readdirSync(host)).toEqual(['link', 'one', 'one.from-vm', 'sub', 'two']);
  });

  it('stays where both have come to the same', async () => {
    const guest = await given();
    write('one', 'of both');
    guest.set('./one', changed('./one', 'of both'));
    expect(await merge(told(guest))).toEqual({ ...nothing, written: 1 });
    guest.delete('./one');
    expect(await merge(told(guest))).toEqual({ ...nothing, removed: 1 });
  });

  it('stays where the guest has removed it, which is told; so does what is new in a folder', async () => {
    const guest = await given();
    write('one', 'of the host');
    write('sub/new', 'new');
    for (const name of ['./one', './sub/', './sub/three', './sub/deep/', './sub/deep/four']) guest.delete(name);
    expect(await merge(told(guest))).toEqual({ written: 0, removed: 3, conflicts: [{ path: at('one') }] });
    expect([read('one'), readdirSync(at('sub'))]).toEqual(['of the host', ['new']]);
    expect(await merge(told(guest))).toEqual(nothing);
  });

  it('also where one has a folder and the other a file or a link', async () => {
    const guest = await given();
    for (const name of ['one', 'link']) rmSync(at(name));
    mkdirSync(at('one'));
    // Where this link leads nothing may go.
    symlinkSync(folder, at('link'));
    guest.set('./one', changed('./one', 'of the guest'));
    guest.delete('./link');
    guest.set('./link/', { name: './link/', type: '5' });
    guest.set('./link/outside', changed('./link/outside', 'escaped'));
    guest.set('./link/same', { name: './link/same', type: '1', link: './link/outside', mtime: 1_100_000_000 });
    expect((await merge(told(guest))).conflicts).toEqual([
      { path: at('link'), copy: at('link.from-vm') },
      { path: at('one'), copy: at('one.from-vm') },
    ]);
    expect(readFileSync(path.join(folder, 'outside'), 'utf8')).toBe('untouched');
    expect([read('link.from-vm/outside'), read('link.from-vm/same')]).toEqual(['escaped', 'escaped']);
    expect(readlinkSync(at('link'))).toBe(folder);
    expect(await merge(told(guest))).toEqual(nothing);
    guest.delete('./link/outside');
    guest.delete('./link/same');
    expect(await merge(told(guest))).toEqual({ ...nothing, removed: 2 });
    expect(readdirSync(at('link.from-vm'))).toEqual([]);
  });
});

describe('what a guest may not', () => {
  it('remove what lies behind a link that stands for a folder now', async () => {
    const guest = await given();
    mkdirSync(path.join(folder, 'elsewhere'));
    renameSync(at('sub/deep/four'), path.join(folder, 'elsewhere/four'));
    rmSync(at('sub/deep'), { recursive: true });
    symlinkSync(path.join(folder, 'elsewhere'), at('sub/deep'));
    for (const name of ['./sub/deep/', './sub/deep/four']) guest.delete(name);
    expect((await merge(told(guest))).conflicts).toEqual([{ path: at('sub/deep') }]);
    expect(existsSync(path.join(folder, 'elsewhere/four'))).toBe(true);
  });

  it('remove anything by an archive that is cut short or damaged', async () => {
    await given();
    const source = (data: Buffer): Promise<MergedFolder> =>
      mergeArchive(Readable.from([data]), host, { archive: new ArchiveRules('.'), baseline, suffix: '.from-vm' });
    const top = { name: './', type: '5' };
    expect(await codeOf(source(archive(top).subarray(0, -trailer.length)))).toBe('ARCHIVE_INVALID');
    expect(await codeOf(merge([top, { name: './../outside', body: 'x' }]))).toBe('ARCHIVE_INVALID');
    expect(await codeOf(merge([top, { name: '/outside', body: 'x' }]))).toBe('ARCHIVE_INVALID');
    expect(await codeOf(merge([top, { name: './x', type: '3' }]))).toBe('ARCHIVE_INVALID');
    expect(await codeOf(merge([top, { name: './x', type: '1', link: './../outside' }]))).toBe('ARCHIVE_INVALID');
    expect(await codeOf(merge([{ name: '.', body: 'x' }]))).toBe('ARCHIVE_INVALID');
    const cut = archive(top, { name: './one', body: 'x'.repeat(2000) });
    expect(await codeOf(source(cut.subarray(0, 1500)))).toBe('ARCHIVE_INVALID');
    expect(readdirSync(host)).toEqual(['link', 'one', 'sub', 'two']);
    expect(read('one')).toBe('one');
    rmSync(host, { recursive: true });
    expect(await codeOf(merge([top]))).toBe('FILE_NOT_FOUND');
  });
});

it('what was known is read again as it was written', async () => {
  const file = path.join(folder, 'known');
  await given();
  baseline.set('b', { guest: { type: 'folder' }, beside: 'b.from-vm' });
  baseline.set('a\u00ff\n"', { guest: { type: 'file', mode: 0o644, mtimeNs: '1', size: 3 } });
  await baseline.write(file);
  const again = await Baseline.read(file);
  expect(again.depthFirst()).toEqual(baseline.depthFirst());
  for (const name of baseline.depthFirst()) expect(again.get(name)).toEqual(baseline.get(name));
  chmodSync(file, 0o600);
  writeFileSync(file, '{"schema":2}\n');
  expect(await codeOf(Baseline.read(file))).toBe('STATE_INVALID');
  expect(await codeOf(Baseline.read(`${file}.none`))).toBe('STATE_INVALID');
});
