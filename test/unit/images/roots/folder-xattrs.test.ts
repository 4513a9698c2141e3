import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { readErofs } from '../../../../src/images/roots/erofs-read.ts';
import { importRoot } from '../../../../src/images/roots/import.ts';
import type { RootImage } from '../../../../src/images/roots/root-image.ts';
import { RangeReader } from '../../../../src/images/roots/range-reader.ts';
import type { TreeNode } from '../../../../src/images/roots/tree.ts';
import { unpackRoot } from '../../../../src/images/roots/unpack-root.ts';
import { parseXattrs, xattrText } from '../../../../src/images/roots/xattr-text.ts';
import { failure } from '../../../fakes/failure.ts';

const isRoot = process.getuid?.() === 0;
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
let work: string;
let root: string;

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'xattrs-'));
  root = path.join(work, 'root');
  mkdirSync(path.join(root, 'closed'), { recursive: true });
  for (const name of ['ping', 'plain', 'closed/back\\slash =\n']) writeFileSync(path.join(root, name), name);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(work, { recursive: true });
});

/** Whether there are the tools, and a file system that takes attributes. */
function lacks(): string | undefined {
  if (spawnSync('setfattr', ['--version']).error !== undefined) return 'this host has no setfattr';
  const { status } = spawnSync('setfattr', ['-n', 'user.test', '-v', 'x', '--', path.join(root, 'plain')]);
  spawnSync('setfattr', ['-x', 'user.test', '--', path.join(root, 'plain')]);
  return status === 0 ? undefined : 'the file system of temporary files takes no attributes';
}

function set(name: string, value: Buffer, file: string): void {
  const words = value.length === 0 ? [] : ['-v', `0s${value.toString('base64')}`];
  execFileSync('setfattr', ['-n', name, ...words, '--', path.join(root, file)]);
}

async function nodeAt(image: RootImage, ...names: string[]): Promise<TreeNode> {
  await using reader = new RangeReader();
  let node: TreeNode = await readErofs(
    { file: image.file, offset: 0, size: image.manifest.root.size },
    reader,
    undefined,
  );
  for (const name of names) node = (node as Extract<TreeNode, { kind: 'folder' }>).children.get(name) as TreeNode;
  return node;
}

const dump = (folder: string): string =>
  execFileSync('getfattr', ['-R', '-P', '-h', '-d', '-e', 'base64', '-m', '^(user|security)[.]', '.'], {
    cwd: folder,
    encoding: 'latin1',
    stdio: ['ignore', 'pipe', 'pipe'],
  });

it('keeps attributes of a folder, capabilities among them, and gives them to the mock', async ({ skip }) => {
  const why = lacks();
  if (why !== undefined) return skip(why);
  const note = Buffer.from([0, 10, 255, 61]);
  set('user.note', note, 'plain');
  set('user.empty', Buffer.alloc(0), 'closed/back\\slash =\n');
  set('user.note', note, 'closed');
  if (isRoot) set('security.capability', capability, 'ping');
  execFileSync('chmod', ['0444', path.join(root, 'plain')]);
  const image = await importRoot({ store: path.join(work, 'store'), source: root, name: 'app' });
  expect((await nodeAt(image, 'plain')).xattrs).toEqual(new Map([['user.note', note]]));
  expect((await nodeAt(image, 'closed', 'back\\slash =\n')).xattrs).toEqual(new Map([['user.empty', Buffer.alloc(0)]]));
  expect((await nodeAt(image, 'ping')).xattrs).toEqual(new Map(isRoot ? [['security.capability', capability]] : []));
  const unpacked = path.join(work, 'unpacked');
  const file = { file: image.file, offset: 0, size: image.manifest.root.size };
  expect(await unpackRoot(file, unpacked, undefined)).toBe(0);
  expect(dump(unpacked)).toBe(dump(root));
  expect(statSync(path.join(unpacked, 'plain')).mode & 0o777).toBe(0o444);
  // Without the tool they are lost, which is said.
  vi.stubEnv('PATH', '/nonexistent');
  expect(await unpackRoot(file, unpacked, undefined)).toBe(isRoot ? 4 : 3);
});

it('says that attributes are left out where the host has no getfattr', async () => {
  vi.stubEnv('PATH', '/nonexistent');
  const told: string[] = [];
  await importRoot({
    store: path.join(work, 'store'),
    source: root,
    onEvent: ({ phase, message }) => phase === 'notice' && told.push(message),
  });
  expect(told).toEqual([expect.stringMatching(/left out: this host has no getfattr/)]);
});

it('refuses a folder whose attributes it may not read', async () => {
  const tools = path.join(work, 'tools');
  mkdirSync(tools);
  const words = 'getfattr: /x: Operation not supported\\ngetfattr: /y: Permission denied\\n';
  writeFileSync(path.join(tools, 'getfattr'), `#!/bin/sh\nprintf '${words}' >&2\nexit 1\n`, { mode: 0o755 });
  vi.stubEnv('PATH', tools);
  const { code, message } = await failure(importRoot({ store: path.join(work, 'store'), source: root }));
  expect([code, message]).toEqual(['FILE_UNREADABLE', expect.stringMatching(/y: Permission denied/)]);
});

it('reads what it writes', () => {
  const attributes = new Map([
    ['user.a=b\\', Buffer.from('x')],
    ['user.none', Buffer.alloc(0)],
  ]);
  const text = xattrText('/a\\b\n=\u00ff', attributes) + xattrText('/c', new Map([['user.x', Buffer.from([255])]]));
  expect(text.split('\n')).toHaveLength(8);
  expect(parseXattrs(text)).toEqual(
    new Map([
      ['/a\\b\n=\u00ff', attributes],
      ['/c', new Map([['user.x', Buffer.from([255])]])],
    ]),
  );
});
