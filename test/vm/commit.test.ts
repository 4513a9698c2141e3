import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { importImage, listRootImages, removeRootImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';
import { archive, pax } from '../fakes/tar.ts';
import { codeOf } from '../fakes/failure.ts';
import { asTar, layout } from '../unit/images/roots/oci-fixture.ts';
import { smallGuest, withGuest } from './guest.ts';

const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');

beforeAll(async () => {
  const work = mkdtempSync(path.join(tmpdir(), 'commit-'));
  const root = path.join(work, 'root');
  for (const name of ['bin', 'srv/gone', 'srv/emptied', 'etc']) mkdirSync(path.join(root, name), { recursive: true });
  copyFileSync('/usr/bin/busybox', path.join(root, 'bin/busybox'));
  const applets = [
    'sh',
    'cat',
    'ls',
    'stat',
    'rm',
    'mkdir',
    'mkfifo',
    'ln',
    'chown',
    'chmod',
    'mknod',
    'mount',
    'head',
    'sleep',
    'touch',
  ];
  for (const name of applets) symlinkSync('busybox', path.join(root, 'bin', name));
  for (const name of ['srv/gone/file', 'srv/emptied/old', 'srv/changed', 'srv/kept'])
    writeFileSync(path.join(root, name), name);
  const base = execFileSync('tar', ['-C', root, '-c', '.'], { maxBuffer: 1 << 26 });
  const top = archive(
    pax({ 'SCHILY.xattr.security.capability': capability }),
    { name: 'bin/capable', body: 'x', mode: 0o755 },
    // Only of a guest, this is a file.
    { name: 'srv/plain', body: 'x' },
  );
  const config = { Cmd: ['cat', '/srv/kept'], Env: ['GREETING=hello'], WorkingDir: '/srv' };
  const source = path.join(work, 'app.tar');
  writeFileSync(source, asTar(layout({ layers: [base, top], config })));
  await importImage(source, { name: 'app' });
  rmSync(work, { recursive: true });
});
afterAll(() => rmSync(places().roots, { recursive: true }));

const change = `
rm -r /srv/gone && rm -r /srv/emptied && mkdir /srv/emptied && touch /srv/emptied/new
echo new >/srv/changed && chown 70000:12 /srv/changed && chmod 2751 /srv/changed
touch /srv/hard && ln /srv/hard /srv/again && ln -s ../etc/nothing /srv/link && mkfifo /srv/pipe && touch /srv/.wh.kept
mkdir /mounted && mount -t tmpfs none /mounted && touch /mounted/elsewhere
mknod /srv/null c 1 3; echo x >/tmp/left; mkdir -m 1777 /srv/sticky`;
const look = `
cat /srv/changed; stat -c '%a %u %g' /srv/changed; stat -c %h /srv/again; stat -c %N /srv/link; stat -c '%F %a' /srv/pipe /srv/sticky
ls -A /srv /srv/emptied /mounted /tmp; cat /etc/hostname; echo $GREETING`;

it('makes an image of what a VM has become, which a second VM runs', async () => {
  await withGuest({ image: 'app', name: 'first', scratch: { sizeMiB: 64 } }, async (vm) => {
    await vm.exec(change, { check: true, user: 'root' });
    // Its commands stand still while they are read: this one writes without an end.
    const writer = vm.exec('while :; do echo line >>/srv/grows; done');
    await vm.exec('until [ -s /srv/grows ]; do :; done', { check: true });
    const notes: string[] = [];
    const made = await vm.commit('app:2', {
      config: { labels: { made: 'here' } },
      onEvent: ({ message }) => notes.push(message),
    });
    expect(made).toMatchObject({
      name: 'app:2',
      manifest: {
        source: 'VM first',
        config: { cmd: ['cat', '/srv/kept'], labels: { made: 'here' }, workdir: '/srv' },
      },
    });
    expect(notes).toContain('1 devices are left out, such as ./srv/null');
    expect(await codeOf(vm.commit('../app'))).toBe('INVALID_NAME');
    expect(await codeOf(vm.commit('app:3', { maxBytes: 1000 }))).toBe('IMAGE_INVALID');
    expect(await codeOf(vm.commit('app:3', { signal: AbortSignal.abort() }))).toBe('ABORTED');
    expect((await listRootImages()).map(({ image }) => image.name)).toEqual(['app', 'app:2']);
    expect(readdirSync(places().roots).toSorted()).toEqual(['files', 'lock-token', 'names']);
    expect((await vm.exec('echo goes on', { check: true })).stdout).toBe('goes on\n');
    await writer.kill();
    await writer;
  });
  await withGuest({ image: 'app:2', name: 'second' }, async (vm) => {
    const { stdout } = await vm.exec(look, { check: true });
    expect(stdout.split('\n')).toEqual([
      ...['new', '2751 70000 12', '2', "'/srv/link' -> '../etc/nothing'", 'fifo 644', 'directory 1777'],
      ...[
        '/mounted:',
        '',
        '/srv:',
        '.wh.kept',
        'again',
        'changed',
        'emptied',
        'grows',
        'hard',
        'kept',
        'link',
        'pipe',
        'plain',
        'sticky',
      ],
      ...['', '/srv/emptied:', 'new', '', '/tmp:', 'left', 'second', 'hello', ''],
    ]);
    // The capability came through the guest.
    await vm.commit('app:4');
  });
  const file = (await listRootImages()).find(({ image }) => image.name === 'app:4')?.image.file ?? '';
  const xattrs = execFileSync('dump.erofs', ['--path=/bin/capable', file], { encoding: 'utf8' });
  expect(xattrs).toMatch(/Xattr size: *[1-9]/);
  for (const name of ['app:2', 'app:4']) await removeRootImage(name);
});

it('makes one of the default guest, and says why it can make none', async () => {
  await withGuest({ name: 'plain' }, async (vm) => {
    await vm.exec('echo mine >/root/file', { check: true });
    await vm.commit('plain');
  });
  await withGuest({ image: 'plain' }, async (vm) => {
    expect((await vm.exec(['cat', '/root/file'])).stdout).toBe('mine\n');
  });
  await removeRootImage('plain');
  const mock = await Vm.create({ hypervisor: 'mock' });
  expect(await codeOf(mock.commit('host'))).toBe('UNSUPPORTED');
  await mock.remove();
  expect(await codeOf(Vm.create({ ...smallGuest, image: 'host' }))).toBe('IMAGE_NOT_FOUND');
});
