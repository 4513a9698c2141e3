import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Vm } from '../../src/sandbox/vm.ts';
import { codeOf, failure } from '../fakes/failure.ts';
import { archive } from '../fakes/tar.ts';
import { smallGuest } from './guest.ts';

const cli = path.resolve(import.meta.dirname, '../../bin/polyvisor.js');

let vm: Vm;
let folder: string;
beforeAll(async () => {
  vm = await Vm.create({ ...smallGuest, name: 'copies', vcpus: 1, maxVcpus: 1, memoryMiB: 512 });
});
afterAll(() => vm.remove());
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-copy-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (...names: string[]): string => path.join(folder, ...names);
const run = async (command: string): Promise<string> => (await vm.exec(command, { check: true })).stdout;

function listing(name: string): string[] {
  const lines = execFileSync('find', [at(name), '-printf', '%P|%y|%m|%U:%G|%n|%l|%T+\n'], { encoding: 'latin1' });
  return lines
    .split('\n')
    .map((line) => line.replace(/(\.\d{6})\d+$/, '$1'))
    .toSorted();
}

it('a tree comes back with its modes, owners, links and times', async () => {
  mkdirSync(at('tree/folder/empty'), { recursive: true });
  writeFileSync(at('tree/folder', 'ü'.repeat(120)), 'long name');
  writeFileSync(Buffer.concat([Buffer.from(at('tree/')), Buffer.from([0xff, 0x41])]), 'a name that is no UTF-8');
  writeFileSync(at('tree/program'), Buffer.alloc(70_000, 'p'));
  execFileSync('ln', [at('tree/program'), at('tree/folder/twin')]);
  symlinkSync('../outside', at('tree/link'));
  if (process.getuid?.() === 0) execFileSync('chown', ['123:456', at('tree/program')]);
  chmodSync(at('tree/program'), 0o4750);
  execFileSync('touch', [
    '-h',
    '-d',
    '2001-02-03 04:05:06.123456',
    at('tree/program'),
    at('tree/link'),
    at('tree/folder'),
  ]);

  const copied = await vm.copyIn(at('tree'), '/srv', { archive: true });
  expect(copied).toEqual({ entries: 8, bytes: 70_000 + 32 });
  expect(await run('stat -c "%a %h" /srv/program; stat -c %y /srv/folder; readlink /srv/link')).toMatch(
    /^4750 2\n2001-02-03 \d\d:05:06\.123456000.*\n\.\.\/outside\n$/,
  );
  expect(await vm.copyOut('/srv', at('back'), { archive: true })).toEqual(copied);
  expect(listing('back')).toEqual(listing('tree'));
  execFileSync('diff', ['-r', '--no-dereference', at('tree'), at('back')]);
  await run('rm -r /srv');
});

it('64 MiB arrive whole, both ways', async () => {
  const data = randomBytes(64 * 2 ** 20);
  writeFileSync(at('data'), data);
  const wanted = createHash('md5').update(data).digest('hex');
  await vm.copyIn(at('data'), '/tmp/');
  expect(await run('md5sum < /tmp/data')).toBe(`${wanted}  -\n`);
  await vm.copyOut('/tmp/data', at('back'));
  expect(
    createHash('md5')
      .update(readFileSync(at('back')))
      .digest('hex'),
  ).toBe(wanted);
  await run('rm /tmp/data');
});

it('a guest without room says so, and goes on', async () => {
  execFileSync('truncate', ['-s', '32M', at('zeros')]);
  writeFileSync(at('full'), Buffer.alloc(3 << 20, 'x'));
  await run('mkdir /tmp/small; mount -t tmpfs -o size=1m none /tmp/small');
  expect(await failure(vm.copyIn(at('full'), '/tmp/small'))).toMatchObject({
    code: 'AGENT_FAILED',
    facts: { errno: 'ENOSPC' },
  });
  // Zeros take no room: a file of them is a hole.
  await vm.copyIn(at('zeros'), '/tmp/small');
  expect(await run('ls /tmp/small; stat -c %s /tmp/small/zeros; umount /tmp/small; rmdir /tmp/small')).toBe(
    'zeros\n33554432\n',
  );
});

it('one that is aborted leaves no half of a file in the guest', async () => {
  execFileSync('truncate', ['-s', '4G', at('zeros')]);
  await run('mkdir /tmp/aborted');
  const controller = new AbortController();
  const copying = vm.copyIn(at('zeros'), '/tmp/aborted', { signal: controller.signal });
  await expect.poll(() => run('ls -A /tmp/aborted | wc -l')).toBe('1\n');
  controller.abort();
  expect(await codeOf(copying)).toBe('ABORTED');
  expect(await run('ls -A /tmp/aborted; rmdir /tmp/aborted')).toBe('');
});

it('tables of the kernel are no files, and devices are told of', async () => {
  let bytes = 0;
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      bytes += chunk.length;
      done();
    },
  });
  expect(await failure(vm.copyOut('/', sink))).toMatchObject({
    code: 'COPY_INCOMPLETE',
    message: expect.stringContaining('./dev/'),
  });
  expect(bytes).toBeGreaterThan(2 ** 20);
  expect(bytes).toBeLessThan(64 * 2 ** 20);
});

it('the command line copies files, folders and tar streams', async () => {
  const polyvisor = (args: string[], input?: Buffer): string =>
    execFileSync(process.execPath, [cli, ...args], { input, encoding: 'utf8' });
  writeFileSync(at('file'), 'content');
  expect(polyvisor(['cp', at('file'), 'copies:/tmp/renamed'])).toBe('1 entries, 7 bytes\n');
  expect(JSON.parse(polyvisor(['cp', '--json', 'copies:/tmp/renamed', folder]))).toMatchObject({
    name: 'copies',
    into: false,
    entries: 1,
    bytes: 7,
  });
  expect(readFileSync(at('renamed'), 'utf8')).toBe('content');
  polyvisor(['cp', '-', 'copies:/tmp'], archive({ name: 'sent/deep/er', body: 'by a pipe', uid: 7 }));
  expect(await run('cat /tmp/sent/deep/er; stat -c " %u" /tmp/sent/deep/er')).toBe('by a pipe 7\n');
  const tar = execFileSync(process.execPath, [cli, 'cp', 'copies:/tmp/sent/.', '-']);
  expect(execFileSync('tar', ['-t'], { input: tar, encoding: 'utf8' })).toBe('./\n./deep/\n./deep/er\n');
  for (const [args, words] of [
    [['cp', 'a', 'b'], 'Neither is in a VM'],
    [['cp', 'copies:/a', 'copies:/b'], 'Both are in a VM'],
    [['cp', 'copies:/none', at('x')], 'FILE_NOT_FOUND'],
    [['cp', at('none'), 'copies:/x'], 'FILE_NOT_FOUND'],
  ] as const) {
    expect(() => execFileSync(process.execPath, [cli, ...args], { stdio: 'pipe' })).toThrow(words);
  }
  expect(readdirSync(folder).toSorted()).toEqual(['file', 'renamed']);
  await run('rm -r /tmp/renamed /tmp/sent');
});

it('a command that is started while an image is read begins afterwards, and the agent goes on', async () => {
  const image = vm.agent.getFiles('/', { image: true });
  let stands = true;
  const ended = new Promise<void>((resolve) => image.stream.once('end', resolve));
  await new Promise<void>((resolve) => image.stream.once('readable', resolve));
  const command = vm.exec(['sh', '-c', 'echo begun; cat'], { stdin: 'given', check: true });
  void command.then(() => (stands = false));
  // It answers although nobody takes the image, and without the command.
  await vm.agent.ping({ timeoutMs: 10_000 });
  expect(stands).toBe(true);
  image.stream.resume();
  await ended;
  expect((await image.done).entries).toBeGreaterThan(100);
  expect((await command).stdout).toBe('begun\ngiven');
  expect((await vm.agent.info()).processes).toBe(0);
});
