import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import type { GuestAgent } from '../../src/guest/agent.ts';
import { connectAgent } from '../../src/guest/native/agent.ts';
import { copyIn, copyOut } from '../../src/sandbox/copy/copy.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { AgentUnderTest } from './agent-under-test.ts';

// Both ends together, and the agent sanitized: what goes in comes out as it was.
let guest: AgentUnderTest;
let agent: GuestAgent;
let folder: string;

beforeAll(async () => {
  guest = await AgentUnderTest.start();
  agent = await connectAgent(net.connect(guest.socket(0)), { showsHangup: true });
}, 120_000);
afterAll(async () => {
  await agent.close();
  await guest.stop();
});
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-tree-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]): string => path.join(folder, ...names);

/** Everything of a tree that a copy keeps: times to the microsecond, which is what Node can set. */
function listing(name: string): string[] {
  const format = '%P|%y|%m|%U:%G|%n|%l|%T+\n';
  return execFileSync('find', [at(name), '-printf', format], { encoding: 'latin1' })
    .split('\n')
    .map((line) => line.replace(/(\.\d{6})\d+$/, '$1'))
    .toSorted();
}

it('a tree with all there can be comes back as it was', async () => {
  const strange = Buffer.concat([Buffer.from(at('tree', 'latin-')), Buffer.from([0xe9, 0xff])]);
  mkdirSync(at('tree', 'empty'), { recursive: true });
  mkdirSync(at('tree', 'n'.repeat(200), 'm'.repeat(200)), { recursive: true });
  writeFileSync(at('tree', 'n'.repeat(200), 'm'.repeat(200), 'ü'.repeat(100)), 'deep');
  writeFileSync(strange, 'bytes');
  writeFileSync(at('tree', 'program'), Buffer.alloc(100_001, 'p'));
  writeFileSync(at('tree', 'nothing'), '');
  execFileSync('ln', [at('tree', 'program'), at('tree', 'empty', '..', 'twin')]);
  symlinkSync('../somewhere/else', at('tree', 'link'));
  symlinkSync('x'.repeat(3000), at('tree', 'long-link'));
  execFileSync('truncate', ['-s', '5000001', at('tree', 'sparse')]);
  if (process.getuid?.() === 0)
    execFileSync('chown', ['-h', '3000000:54321', at('tree', 'program'), at('tree', 'link')]);
  chmodSync(at('tree', 'program'), 0o6755);
  chmodSync(at('tree', 'empty'), 0o1777);
  execFileSync('touch', [
    '-h',
    '-d',
    '2001-02-03 04:05:06.123456',
    at('tree', 'program'),
    at('tree', 'link'),
    at('tree', 'empty'),
  ]);
  execFileSync('touch', ['-d', '1960-01-02 03:04:05.5', at('tree', 'nothing')]);

  const copied = await copyIn(agent, at('tree'), at('inside'), { archive: true });
  expect(listing('inside')).toEqual(listing('tree'));
  expect(await copyOut(agent, at('inside'), at('back'), { archive: true })).toEqual(copied);
  expect(listing('back')).toEqual(listing('tree'));
  execFileSync('diff', ['-r', '--no-dereference', at('tree'), at('back')]);
  for (const name of ['inside', 'back']) {
    const [blocks] = execFileSync('du', ['-k', at(name, 'sparse')], { encoding: 'utf8' }).split('\t');
    expect(Number(blocks)).toBeLessThan(500);
  }
});

it('owners are root or the caller, and set-id bits stay out of the host, unless asked for', async () => {
  writeFileSync(at('tool'), 'x');
  chmodSync(at('tool'), 0o4755);
  if (process.getuid?.() === 0) execFileSync('chown', ['1234:1234', at('tool')]);
  // chown clears the bit.
  chmodSync(at('tool'), 0o4755);
  await copyIn(agent, at('tool'), at('tool-inside'));
  await copyOut(agent, at('tool-inside'), at('tool-back'));
  const me = `${process.getuid?.()}:${process.getgid?.()}`;
  expect(execFileSync('stat', ['-c', '%a %u:%g', at('tool-inside'), at('tool-back')], { encoding: 'utf8' })).toBe(
    `4755 ${me}\n755 ${me}\n`,
  );
});

it('a link is copied as one, or followed', async () => {
  writeFileSync(at('pointed'), 'content');
  symlinkSync('pointed', at('pointer'));
  mkdirSync(at('links'));
  await copyIn(agent, at('pointer'), at('links', 'as-link'));
  await copyIn(agent, at('pointer'), at('links', 'as-file'), { followLink: true });
  await copyOut(agent, at('pointer'), at('links', 'out-link'));
  await copyOut(agent, at('pointer'), at('links', 'out-file'), { followLink: true });
  const list = execFileSync('find', [at('links'), '-mindepth', '1', '-printf', '%f %y\n'], { encoding: 'utf8' });
  expect(list.trim().split('\n').toSorted()).toEqual(['as-file f', 'as-link l', 'out-file f', 'out-link l']);
});

it('sockets, fifos and devices are told of, both ways', async () => {
  mkdirSync(at('special'));
  execFileSync('mkfifo', [at('special', 'fifo')]);
  writeFileSync(at('special', 'file'), 'x');
  expect(await failure(copyIn(agent, at('special'), at('special-in')))).toMatchObject({ code: 'COPY_INCOMPLETE' });
  expect(await failure(copyOut(agent, at('special'), at('special-out')))).toMatchObject({ code: 'COPY_INCOMPLETE' });
  expect([readdirSync(at('special-in')), readdirSync(at('special-out'))]).toEqual([['file'], ['file']]);
  expect(await codeOf(copyIn(agent, at('special', 'fifo'), at('x')))).toBe('FILE_INVALID');
});

it('what is missing is told, on whichever side', async () => {
  writeFileSync(at('pointed'), '');
  mkdirSync(at('tree'));
  expect(await codeOf(copyIn(agent, at('none'), at('x')))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(copyIn(agent, at('pointed'), at('none', 'x')))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(copyOut(agent, at('none'), at('x')))).toBe('FILE_NOT_FOUND');
  expect(await codeOf(copyIn(agent, at('tree'), at('pointed')))).toBe('FILE_INVALID');
});

it('a copy that is aborted leaves no half of a file', async () => {
  execFileSync('truncate', ['-s', '3G', at('large')]);
  mkdirSync(at('aborted'));
  for (const copy of [copyIn, copyOut]) {
    const controller = new AbortController();
    const copying = copy(agent, at('large'), at('aborted', 'large'), { signal: controller.signal });
    await expect.poll(() => readdirSync(at('aborted')).length).toBe(1);
    controller.abort();
    expect(await codeOf(copying)).toBe('ABORTED');
    expect(readdirSync(at('aborted'))).toEqual([]);
  }
  expect(await codeOf(copyOut(agent, at('large'), at('aborted'), { timeoutMs: 50 }))).toBe('TIMEOUT');
  expect(await codeOf(copyOut(agent, at('large'), at('aborted'), { limits: { bytes: 2 ** 31 } }))).toBe('COPY_LIMIT');
  expect(readdirSync(at('aborted'))).toEqual([]);
  await agent.ping();
});
