import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { archive, forge, pax, trailer, type Forged } from '../fakes/tar.ts';
import { AgentUnderTest } from './agent-under-test.ts';
import type { RawClient } from './raw-client.ts';
import { buildSanitized } from './sanitized-build.ts';
import { encodeFrame, Fields, integer, tags, text, types, type Frame } from './wire.ts';

beforeAll(() => buildSanitized(), 120_000);

let agent: AgentUnderTest;
let client: RawClient;
let folder: string;
let target: string;
beforeEach(async () => {
  agent = await AgentUnderTest.start();
  client = await agent.session();
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-copy-'));
  target = path.join(folder, 'target');
  mkdirSync(target);
});
afterEach(async () => {
  await agent.stop();
  rmSync(folder, { recursive: true, force: true });
});

const inTarget = (name: string): string => path.join(target, name);

/** Frames of other types than CREDIT. */
async function answer(): Promise<Frame> {
  for (;;) {
    const frame = await client.next();
    if (frame.type !== types.credit) return frame;
  }
}

/** Sends an archive in pieces and returns the answer: the fields of DONE, or errno and message. */
async function put(data: Buffer, to = target, piece = 16_000, top?: string): Promise<Fields | [number, string]> {
  const stream = client.request(types.put, text(tags.path, to), ...(top === undefined ? [] : [text(tags.top, top)]));
  for (let at = 0; at < data.length; at += piece) client.data(stream, data.subarray(at, at + piece));
  client.data(stream, '');
  const { type, payload } = await answer();
  const fields = new Fields(payload);
  if (type === types.done) return fields;
  expect(type).toBe(types.error);
  return [fields.number(tags.errno) ?? 0, fields.string(tags.message) ?? ''];
}

async function refusal(data: Buffer, to = target, top?: string): Promise<[number, string]> {
  const result = await put(data, to, 16_000, top);
  if (result instanceof Fields) throw new Error('it was taken');
  return result;
}

/** A whole archive out of the agent, or errno and message. */
async function get(from: string, ...fields: Buffer[]): Promise<{ data: Buffer; done: Fields } | [number, string]> {
  const stream = client.request(types.get, text(tags.path, from), ...fields);
  const pieces: Buffer[] = [];
  for (;;) {
    const { type, payload } = await client.next();
    if (type === types.data) {
      pieces.push(payload.subarray(1));
      if (payload.length > 1) client.credit(stream, 1, payload.length - 1);
    } else if (type === types.done) return { data: Buffer.concat(pieces), done: new Fields(payload) };
    else {
      const error = new Fields(payload);
      return [error.number(tags.errno) ?? 0, error.string(tags.message) ?? ''];
    }
  }
}

describe('PUT', () => {
  it.each([1, 511, 512, 65_535])('takes what tar makes, in pieces of %i bytes', async (piece) => {
    const source = path.join(folder, 'source');
    mkdirSync(path.join(source, 'a'.repeat(120), 'empty'), { recursive: true });
    writeFileSync(path.join(source, 'a'.repeat(120), 'file'), Buffer.alloc(3000, 'x'));
    symlinkSync('b'.repeat(130), path.join(source, 'link'));
    execFileSync('ln', [path.join(source, 'a'.repeat(120), 'file'), path.join(source, 'hard')]);
    chmodSync(path.join(source, 'hard'), 0o4751);
    execFileSync('touch', ['-d', '2001-02-03 04:05:06.123456789', path.join(source, 'hard')]);
    for (const format of ['gnu', 'pax', 'posix', 'v7'].slice(0, piece === 65_535 ? 3 : 1)) {
      const to = path.join(target, format);
      mkdirSync(to);
      const data = execFileSync('tar', ['-c', `--format=${format}`, '-C', source, '.']);
      const done = await put(data, to, piece);
      expect(done instanceof Fields && [done.number(tags.entries), done.number(tags.bytes)]).toEqual([6, 3000]);
      execFileSync('diff', ['-r', '--no-dereference', source, to]);
      const { mode, nlink, mtimeNs } = statSync(path.join(to, 'hard'), { bigint: true });
      expect([mode & 0o7777n, nlink]).toEqual([0o4751n, 2n]);
      expect(mtimeNs % 1_000_000_000n).toBe(format === 'gnu' ? 0n : 123_456_789n);
    }
  });

  it('follows the rules of cp for the archive with one top', async () => {
    const file = archive({ name: 'top', body: 'file' });
    const tree = archive({ name: 'top/', type: '5', mode: 0o700 }, { name: 'top/inside', body: 'in' });
    await put(file, inTarget('new'), 512, 'top');
    expect(readFileSync(inTarget('new'), 'utf8')).toBe('file');
    await put(file, target, 512, 'top');
    expect(readFileSync(inTarget('top'), 'utf8')).toBe('file');
    await put(tree, inTarget('tree'), 512, 'top');
    expect(readFileSync(inTarget('tree/inside'), 'utf8')).toBe('in');
    expect(statSync(inTarget('tree')).mode & 0o7777).toBe(0o700);
    await put(tree, inTarget('tree'), 512, 'top');
    expect(readFileSync(inTarget('tree/top/inside'), 'utf8')).toBe('in');
    const content = archive({ name: './', type: '5' }, { name: './more', body: 'm' });
    await put(content, inTarget('tree/'), 512, '.');
    expect(readFileSync(inTarget('tree/more'), 'utf8')).toBe('m');
    // A folder that is there keeps what it has.
    expect(statSync(inTarget('tree')).mode & 0o7777).toBe(0o700);
    expect(await refusal(tree, inTarget('new'), 'top')).toEqual([20, expect.stringContaining("can't take the place")]);
    expect(await refusal(file, inTarget('none/'), 'top')).toEqual([2, expect.stringContaining('no such folder')]);
    expect(await refusal(file, inTarget('none/new'), 'top')).toEqual([2, expect.any(String)]);
    expect(await refusal(file, inTarget('none'))).toEqual([2, expect.any(String)]);
    expect(await refusal(archive({ name: 'other', body: '' }), target, 'top')).toEqual([22, expect.any(String)]);
    expect(await refusal(file, inTarget('tree/top/inside/x'), 'top')).toEqual([20, expect.any(String)]);
  });

  it('replaces files and links, but no folder', async () => {
    writeFileSync(path.join(folder, 'outside'), 'untouched');
    symlinkSync('../outside', inTarget('link'));
    mkdirSync(inTarget('folder'));
    expect(await put(archive({ name: 'link', body: 'new' }))).toBeInstanceOf(Fields);
    expect(lstatSync(inTarget('link')).isFile()).toBe(true);
    expect(readFileSync(path.join(folder, 'outside'), 'utf8')).toBe('untouched');
    for (const entry of [
      { name: 'folder', body: 'x' },
      { name: 'folder', type: '2', link: 'x' },
    ]) {
      expect(await refusal(archive(entry))).toEqual([21, expect.stringContaining('a folder has this name')]);
    }
    expect(readdirSync(target).toSorted()).toEqual(['folder', 'link']);
  });

  it('takes a name for granted when it comes twice, and a hard link onto itself', async () => {
    const once = { name: 'f', body: 'one' };
    const linked: Forged = { name: 'g', type: '1', link: 'f' };
    await put(archive(once, { ...once, body: 'two' }, linked, linked));
    expect([readFileSync(inTarget('g'), 'utf8'), statSync(inTarget('f')).nlink]).toEqual(['two', 2]);
    expect(readdirSync(target).toSorted()).toEqual(['f', 'g']);
  });

  const attacks: [string, Buffer, number][] = [
    ['an absolute name', archive({ name: '/tmp/polyvisor-evil', body: 'x' }), 22],
    ['..', archive({ name: '../evil', body: 'x' }), 22],
    ['.. in the midst', archive({ name: 'a/../../evil', body: 'x' }), 22],
    [
      'a link in the archive that is gone through',
      archive({ name: 'l', type: '2', link: '..' }, { name: 'l/evil', body: 'x' }),
      20,
    ],
    ['a link in the target that is gone through', archive({ name: 'planted/evil', body: 'x' }), 20],
    ['a folder over a link', archive({ name: 'planted/', type: '5' }, { name: 'planted/evil', body: 'x' }), 20],
    ['a hard link to what is outside', archive({ name: 'evil', type: '1', link: '../outside' }), 22],
    ['a hard link through a link', archive({ name: 'evil', type: '1', link: 'planted/outside' }), 20],
    ['a hard link to a link', archive({ name: 'evil', type: '1', link: 'planted' }), 22],
    ['a hard link to nothing', archive({ name: 'evil', type: '1', link: 'nothing' }), 2],
    ['a device', archive({ name: 'evil', type: '3' }), 22],
    ['a fifo', archive({ name: 'evil', type: '6' }), 22],
    ['a type nobody knows', archive({ name: 'evil', type: 'Z' }), 22],
    ['a sparse file', archive(pax({ 'GNU.sparse.major': '1' }), { name: 'evil', body: 'x' }), 22],
    ['a file below a file', archive({ name: 'f', body: 'x' }, { name: 'f/evil', body: 'x' }), 20],
    ['a link with a size', archive({ name: 'evil', type: '2', link: 'x', size: 512 }), 22],
    ['a size beyond everything', archive(pax({ size: '9223372036854775808' }), { name: 'evil' }), 22],
    ['a name with NUL', archive(pax({ path: 'evil\0x' }), { name: 'evil' }), 22],
    ['a name too long', archive(pax({ path: 'x/'.repeat(2100) }), { name: 'evil' }), 22],
    ['a part of a name too long', archive(pax({ path: 'x'.repeat(256) }), { name: 'evil' }), 22],
    ['folders too deep', archive(pax({ path: 'x/'.repeat(300) }), { name: 'evil', type: '5' }), 36],
    ['a pax header of nonsense', archive(forge({ name: 'p', type: 'x', body: '99 path=evil\n' }), { name: 'e' }), 22],
    ['a pax header too long', archive(forge({ name: 'p', type: 'x', size: 40_000 })), 22],
    ['a pax header without a sign', archive(forge({ name: 'p', type: 'x', body: '9 path e\n' }), { name: 'e' }), 22],
    ['a wrong checksum', archive({ name: 'evil', body: 'x', checksumOff: 1 }), 22],
    ['no name', archive({ name: '', body: 'x' }), 22],
    ['a size that is no number', archive({ name: 'evil', size: Number.NaN }), 22],
    ['an end that is missing', forge({ name: 'evil/', type: '5' }), 22],
    ['an end in the midst of a file', forge({ name: 'evil', size: 5000, body: 'x' }), 22],
    ['an entry after the end', Buffer.concat([trailer.subarray(512), forge({ name: 'evil', body: '' }), trailer]), 22],
    ['a global name', archive(pax({ path: 'evil' }, 'g'), { name: 'x' }), 22],
  ];
  it.each(attacks)('refuses %s', async (_name, data, errno) => {
    writeFileSync(path.join(folder, 'outside'), 'untouched');
    symlinkSync('..', inTarget('planted'));
    expect((await refusal(data))[0]).toBe(errno);
    expect(readFileSync(path.join(folder, 'outside'), 'utf8')).toBe('untouched');
    expect(readdirSync(folder).toSorted()).toEqual(['outside', 'target']);
    expect(readdirSync(target).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(existsSync('/tmp/polyvisor-evil')).toBe(false);
    // The stream is over, the session is not.
    expect(await put(archive({ name: 'good', body: 'x' }))).toBeInstanceOf(Fields);
  });

  it('leaves nothing half-written when it is cancelled, or the host goes', async () => {
    const begin = forge({ name: 'f', size: 1 << 20 });
    for (const end of ['cancel', 'hang-up']) {
      const stream = client.request(types.put, text(tags.path, target));
      client.data(stream, begin);
      await client.nextOf(types.credit);
      await expect.poll(() => readdirSync(target).length).toBe(1);
      if (end === 'cancel') {
        client.send(encodeFrame(types.cancel, stream));
        expect(new Fields((await client.nextOf(types.error)).payload).number(tags.errno)).toBe(125);
      } else await client.close();
      await expect.poll(() => readdirSync(target)).toEqual([]);
    }
    client = await agent.session();
  });

  it('gives credit back as it writes', async () => {
    const stream = client.request(types.put, text(tags.path, target));
    client.data(stream, forge({ name: 'f', size: 1 << 30 }));
    const piece = Buffer.alloc(65_000, 'x');
    let credit = 65_536 - 512;
    for (let sent = 0; sent < 8 << 20; sent += piece.length) {
      while (credit < piece.length) credit += (await client.nextOf(types.credit)).payload.readUInt32LE(1);
      client.data(stream, piece);
      credit -= piece.length;
      expect(credit).toBeLessThanOrEqual(1 << 20);
    }
  });

  it.each([
    ['DATA on another channel', types.data, Buffer.of(1, 1)],
    ['a CREDIT', types.credit, Buffer.of(1, 1, 0, 0, 0)],
    ['a SIGNAL', types.signal, integer(tags.signal, 15)],
    ['a CANCEL with a payload', types.cancel, Buffer.of(1)],
  ])('%s for it is a protocol error', async (_name, type, payload) => {
    const stream = client.request(types.put, text(tags.path, target));
    client.data(stream, forge({ name: 'f', size: 5000 }));
    client.send(encodeFrame(type, stream, payload));
    const error = await client.nextOf(types.error);
    expect([error.stream, new Fields(error.payload).number(tags.errno)]).toEqual([0, 71]);
    expect(readdirSync(target)).toEqual([]);
  });
});

describe('GET', () => {
  it('makes what tar takes', async () => {
    const source = path.join(folder, 'source');
    const long = path.join(source, 'n'.repeat(110));
    mkdirSync(path.join(long, 'empty'), { recursive: true });
    writeFileSync(path.join(long, 'file'), Buffer.alloc(200_001, 'y'));
    execFileSync('ln', [path.join(long, 'file'), path.join(source, 'hard')]);
    symlinkSync('l'.repeat(140), path.join(source, 'link'));
    chmodSync(path.join(source, 'hard'), 0o2751);
    execFileSync('touch', ['-d', '1969-12-31 23:59:58.25 UTC', path.join(source, 'hard')]);
    const result = await get(source, integer(tags.credit, 1000));
    if (Array.isArray(result)) throw new Error(result[1]);
    expect([result.done.number(tags.entries), result.done.number(tags.bytes), result.data.length % 512]).toEqual([
      6, 200_001, 0,
    ]);
    execFileSync('tar', ['-x', '-p', '-C', target], { input: result.data });
    execFileSync('diff', ['-r', '--no-dereference', source, inTarget('source')]);
    const { mode, nlink, mtimeNs } = statSync(inTarget('source/hard'), { bigint: true });
    expect([mode & 0o7777n, nlink, mtimeNs]).toEqual([0o2751n, 2n, -1_750_000_000n]);
  });

  it('names what is in a folder for a path that ends with /.', async () => {
    writeFileSync(inTarget('f'), 'x');
    const names = async (from: string, ...fields: Buffer[]): Promise<string[]> => {
      const result = await get(from, ...fields);
      if (Array.isArray(result)) throw new Error(result[1]);
      return execFileSync('tar', ['-t'], { input: result.data }).toString().trim().split('\n');
    };
    expect(await names(`${target}/.`)).toEqual(['./', './f']);
    expect(await names(`${target}/`)).toEqual(['target/', 'target/f']);
    symlinkSync('target', path.join(folder, 'link'));
    expect(await names(path.join(folder, 'link'))).toEqual(['link']);
    expect(await names(path.join(folder, 'link'), integer(tags.follow, 1))).toEqual(['link/', 'link/f']);
  });

  it('tells the size of a file above 8 GiB, and stops when it is told to', async () => {
    writeFileSync(inTarget('big'), '');
    truncateSync(inTarget('big'), 9 * 2 ** 30);
    const stream = client.request(types.get, text(tags.path, inTarget('big')));
    const { payload } = await client.nextOf(types.data);
    expect(payload.toString('latin1', 1, 2000)).toContain(`size=${9 * 2 ** 30}\n`);
    client.send(encodeFrame(types.cancel, stream));
    expect(new Fields((await client.nextOf(types.error)).payload).number(tags.errno)).toBe(125);
  });

  it('skips what can not be copied, and says so', async () => {
    execFileSync('mkfifo', [inTarget('fifo')]);
    const result = await get(target);
    if (Array.isArray(result)) throw new Error(result[1]);
    expect([result.done.number(tags.skipped), result.done.string(tags.message)]).toEqual([1, 'target/fifo']);
    expect(await get(inTarget('fifo'))).toEqual([22, expect.stringContaining('are not copied')]);
    expect(await get(agent.socket(1))).toEqual([22, expect.stringContaining('are not copied')]);
    expect(await get(inTarget('none'))).toEqual([2, expect.any(String)]);
    expect(await get(`${target}/..`)).toEqual([22, expect.any(String)]);
  });
});

describe('requests', () => {
  it.each([
    ['no path', types.put, []],
    ['a relative path', types.put, [text(tags.path, 'etc')]],
    ['a path too long', types.get, [text(tags.path, `/${'x'.repeat(4096)}`)]],
    ['a top with a slash', types.put, [text(tags.path, '/tmp'), text(tags.top, 'a/b')]],
    ['a top for GET', types.get, [text(tags.path, '/tmp'), text(tags.top, 'a')]],
    ['a field twice', types.get, [text(tags.path, '/tmp'), text(tags.path, '/tmp')]],
    ['follow 2', types.get, [text(tags.path, '/tmp'), integer(tags.follow, 2)]],
  ])('%s is an error of that request alone', async (_name, type, fields) => {
    const stream = client.request(type, ...fields);
    const { stream: on, payload } = await client.next();
    expect([on, new Fields(payload).number(tags.errno)]).toEqual([stream, 22]);
  });

  it('at most 16 copies are open, and a process can run beside them', async () => {
    for (let i = 0; i < 17; i++) client.request(types.put, text(tags.path, target));
    expect(new Fields((await client.nextOf(types.error)).payload).number(tags.errno)).toBe(11);
    client.spawn(['true']);
    expect(new Fields((await client.nextOf(types.exit)).payload).number(tags.code)).toBe(0);
  });
});
