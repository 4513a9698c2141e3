import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VmError } from '../../../../src/errors.ts';
import type { GuestAgent } from '../../../../src/guest/agent.ts';
import { copyOut, type CopyOutOptions } from '../../../../src/sandbox/copy/copy.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { archive, forge, pax } from '../../../fakes/tar.ts';

let folder: string;
let target: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-copy-'));
  target = path.join(folder, 'target');
  mkdirSync(target);
  writeFileSync(path.join(folder, 'outside'), 'untouched');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A guest that answers every GET with this, in small pieces. */
function guest(data: Buffer, skipped = 0): GuestAgent {
  const getFiles: GuestAgent['getFiles'] = () => {
    const pieces = Array.from({ length: Math.ceil(data.length / 700) }, (_, at) =>
      data.subarray(at * 700, at * 700 + 700),
    );
    const done = Promise.resolve({ entries: 1, bytes: 1, skipped, firstSkipped: 'top/s\u001b[2Jocket' });
    return { stream: Readable.from(pieces), done };
  };
  return { getFiles } as Partial<GuestAgent> as GuestAgent;
}

const out = (data: Buffer, to = target, options?: CopyOutOptions): Promise<unknown> =>
  copyOut(guest(data), '/some/top', to, options);
const read = (name: string): string => readFileSync(path.join(folder, name), 'utf8');
const top = { name: 'top/', type: '5' };

describe('cp rules', () => {
  const file = archive({ name: 'top', body: 'file' });
  const tree = archive(top, { name: 'top/f', body: 'in' });
  it('a file', async () => {
    await out(file);
    expect(read('target/top')).toBe('file');
    await out(file, `${target}/other`);
    await out(file, `${target}/top`);
    expect(readdirSync(target)).toEqual(['other', 'top']);
    expect(await codeOf(out(file, `${target}/none/`))).toBe('FILE_NOT_FOUND');
    expect(await codeOf(out(file, `${target}/none/f`))).toBe('FILE_NOT_FOUND');
    expect(await codeOf(out(file, `${target}/top/f`))).toBe('FILE_INVALID');
  });

  it('a folder', async () => {
    await out(tree, `${target}/new`);
    await out(tree, `${target}/new/`);
    expect([read('target/new/f'), read('target/new/top/f')]).toEqual(['in', 'in']);
    expect(await codeOf(out(tree, `${folder}/outside`))).toBe('FILE_INVALID');
    mkdirSync(path.join(target, 'top/f'), { recursive: true });
    expect(await failure(out(tree))).toMatchObject({
      code: 'FILE_INVALID',
      message: expect.stringContaining('a folder has this name'),
    });
  });

  it("a folder's content", async () => {
    const content = archive({ name: './', type: '5', mode: 0o700 }, { name: './f', body: 'in' });
    const { mode } = statSync(target);
    await copyOut(guest(content), '/some/top/.', target);
    expect([read('target/f'), statSync(target).mode]).toEqual(['in', mode]);
    await copyOut(guest(content), '/some/top/.', `${target}/new`);
    expect([read('target/new/f'), statSync(`${target}/new`).mode & 0o777]).toEqual(['in', 0o700]);
  });

  it('modes and times are kept; owners and set-id bits only with archive', async () => {
    const data = archive({ name: 'top', body: 'x', mode: 0o6754, uid: 1234, mtime: 981_173_106 });
    await out(data);
    const found = statSync(path.join(target, 'top'));
    expect([found.mode & 0o7777, found.uid, found.mtimeMs]).toEqual([0o754, process.getuid?.(), 981_173_106_000]);
    await out(data, target, { archive: true });
    const kept = statSync(path.join(target, 'top'));
    expect([kept.mode & 0o7777, kept.uid]).toEqual([0o6754, process.getuid?.() === 0 ? 1234 : process.getuid?.()]);
  });

  it('holes stay holes', async () => {
    await out(archive({ name: 'top', body: Buffer.alloc(1 << 20) }));
    // Pieces of this guest are shorter than a hole is; a real one's are not.
    expect(statSync(path.join(target, 'top')).size).toBe(1 << 20);
  });
});

describe('an attack is refused, and nothing outside the target changes:', () => {
  const evil = { body: 'evil' };
  const attacks: [string, Buffer, string?][] = [
    ['an absolute name', archive(top, { name: '/tmp/polyvisor-evil', ...evil })],
    ['..', archive(top, { name: 'top/../../outside', ...evil })],
    ['.. as the top', archive({ name: '../', type: '5' })],
    ['another top', archive({ name: 'other', ...evil })],
    ['a second top', archive(top, { name: 'top2', ...evil })],
    [
      'a link in the archive that is written through',
      archive(top, { name: 'top/l', type: '2', link: '../..' }, { name: 'top/l/outside', ...evil }),
    ],
    [
      'a link in the archive that a folder is put over',
      archive(top, { name: 'top/l', type: '2', link: '../..' }, { name: 'top/l/', type: '5' }),
    ],
    [
      'a link in the target that is written through',
      archive(top, { name: 'top/planted/', type: '5' }, { name: 'top/planted/outside', ...evil }),
      'FILE_INVALID',
    ],
    ['a hard link to what is outside', archive(top, { name: 'top/h', type: '1', link: '../outside' })],
    ['a hard link to an absolute name', archive(top, { name: 'top/h', type: '1', link: '/etc/passwd' })],
    [
      'a hard link through a link',
      archive(top, { name: 'top/h', type: '1', link: 'top/planted/outside' }),
      'FILE_INVALID',
    ],
    [
      'a hard link to a link',
      archive(top, { name: 'top/l', type: '2', link: '../../outside' }, { name: 'top/h', type: '1', link: 'top/l' }),
    ],
    ['a hard link as the top', archive({ name: 'top', type: '1', link: 'top/x' })],
    ['a device', archive(top, { name: 'top/d', type: '4' })],
    ['a fifo', archive(top, { name: 'top/p', type: '6' })],
    ['a name twice', archive(top, { name: 'top/f', ...evil }, { name: 'top/f', ...evil })],
    [
      'a folder twice',
      archive(top, { name: 'top/d/', type: '5' }, { name: 'top/e/', type: '5' }, { name: 'top/d/', type: '5' }),
    ],
    ['a file that becomes a folder', archive(top, { name: 'top/f', ...evil }, { name: 'top/f/', type: '5' })],
    ['a file that becomes a folder by a name', archive(top, { name: 'top/f', ...evil }, { name: 'top/f/g', ...evil })],
    [
      'a folder that was left',
      archive(top, { name: 'top/a/', type: '5' }, { name: 'top/b', ...evil }, { name: 'top/a/c', ...evil }),
    ],
    ['a folder that never was', archive(top, { name: 'top/a/b', ...evil })],
    ['a file with a slash at its end', archive(top, { name: 'top/f/', type: '0', ...evil })],
    ['an empty part', archive(top, { name: 'top//f', ...evil })],
    ['a part that is a dot', archive(top, { name: 'top/./f', ...evil })],
    ['a part too long', archive(top, pax({ path: `top/${'x'.repeat(256)}` }), { name: 'f', ...evil })],
    ['a size that lies', archive(top, { name: 'top/f', body: 'x'.repeat(2000), size: 3 })],
    ['a stream cut short', Buffer.concat([forge(top), forge({ name: 'top/f', body: 'x', size: 9999 })])],
    ['a wrong checksum', archive(top, { name: 'top/f', checksumOff: 1 })],
    ['a NUL in a name', archive(top, pax({ path: 'top/f\0' }), { name: 'f', ...evil })],
    ['a control character in a name', archive(top, { name: 'top/\u001b]0;x\u0007', ...evil })],
    ['too many folders inside each other', deep(300)],
  ];
  it.each(attacks)('%s', async (_name, data, code = 'ARCHIVE_INVALID') => {
    mkdirSync(path.join(target, 'top'));
    symlinkSync('../..', path.join(target, 'top/planted'));
    const error = await failure(out(data));
    expect(error).toMatchObject({ code, facts: { operation: 'copy' } });
    // oxlint-disable-next-line no-control-regex -- that is what must not be there
    expect(error.message).not.toMatch(/[\u0000-\u001f]/);
    expect(readdirSync(folder).toSorted()).toEqual(['outside', 'target']);
    expect(read('outside')).toBe('untouched');
    expect(statSync(path.join(folder, 'outside')).nlink).toBe(1);
    expect(readdirSync(target)).toEqual(['top']);
    expect(readdirSync(path.join(target, 'top')).filter((name) => name.startsWith('.'))).toEqual([]);
    // The same goes for a stream, though what depends on the target can't be seen there.
    if (code !== 'ARCHIVE_INVALID' || _name === 'a hard link to a link') return;
    expect(
      await codeOf(copyOut(guest(data), '/some/top', new Writable({ write: (_chunk, _encoding, done) => done() }))),
    ).toBe(code);
  });

  it.each([
    ['bytes', archive(top, { name: 'top/f', size: 2 ** 33 - 1 }), { bytes: 2 ** 20 }],
    [
      'bytes of many',
      archive(top, ...Array.from({ length: 20 }, (_, n) => ({ name: `top/${n}`, body: 'x'.repeat(100) }))),
      { bytes: 1999 },
    ],
    ['bytes by default', archive(top, pax({ size: String(2 ** 40) }), { name: 'top/f' }), {}],
    ['entries', archive(top, ...Array.from({ length: 20 }, (_, n) => ({ name: `top/${n}` }))), { entries: 20 }],
  ])('a bomb of %s', async (_name, data, limits) => {
    expect(await failure(out(data, target, { limits }))).toMatchObject({
      code: 'COPY_LIMIT',
      advice: expect.stringContaining('limits'),
    });
    expect(execFileSync('du', ['-s', '--block-size=1', target]).toString()).toMatch(/^\d{1,6}\t/);
  });

  it('limits that are none are refused', async () => {
    expect(await codeOf(out(archive({ name: 'top' }), target, { limits: { bytes: 0 } }))).toBe('INVALID_ARGUMENT');
  });
});

function deep(levels: number): Buffer {
  return archive(
    ...Array.from({ length: levels }, (_, n) => [
      pax({ path: `top/${'d/'.repeat(n)}` }),
      forge({ name: 'x', type: '5' }),
    ]).flat(),
  );
}

it('tells of what the guest left out, after all else is there', async () => {
  const error = await failure(copyOut(guest(archive({ name: 'top', body: 'x' }), 3), '/some/top', target));
  expect(error).toMatchObject({
    code: 'COPY_INCOMPLETE',
    message: expect.stringContaining('top/s [2Jocket and 2 more'),
  });
  expect(read('target/top')).toBe('x');
});

it('goes to a stream as it came, and ends it', async () => {
  const data = archive(top, { name: 'top/f', body: 'x'.repeat(5000) });
  const pieces: Buffer[] = [];
  const writable = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      pieces.push(chunk);
      setImmediate(done);
    },
  });
  expect(await copyOut(guest(data), '/some/top', writable)).toEqual({ entries: 2, bytes: 5000 });
  expect([Buffer.concat(pieces).equals(data), writable.writableFinished]).toEqual([true, true]);
});

it('an agent that refuses at once leaves no timer behind', async () => {
  const getFiles = (): never => {
    throw new VmError('BUSY', 'too many');
  };
  const refusing = { getFiles } as Partial<GuestAgent> as GuestAgent;
  // Not all timers of this process are ours: only this one has this length.
  const set = vi.spyOn(globalThis, 'setTimeout');
  const cleared = vi.spyOn(globalThis, 'clearTimeout');
  try {
    expect(await codeOf(copyOut(refusing, '/a', target, { timeoutMs: 61_234 }))).toBe('BUSY');
    const timers = set.mock.results.filter((_, at) => set.mock.calls[at]?.[1] === 61_234);
    expect(timers).toHaveLength(1);
    expect(cleared.mock.calls.map(([timer]) => timer)).toContain(timers[0]?.value);
  } finally {
    set.mockRestore();
    cleared.mockRestore();
  }
});

it('a target that fails is told as such', async () => {
  const full = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no space')) });
  expect(await codeOf(copyOut(guest(archive({ name: 'top' })), '/some/top', full))).toBe('IO');
  for (const [source, to] of [
    ['', target],
    ['/a/..', target],
    ['/a', ''],
  ] as const)
    expect(await codeOf(copyOut(guest(Buffer.alloc(0)), source, to))).toBe('INVALID_ARGUMENT');
});
