import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
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
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { DeviceSpec } from '../../../src/sandbox/device-spec.ts';
import { importImage, removeRootImage } from '../../../src/sandbox/root-images.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places, vmFiles } from '../../../src/state/paths.ts';
import { archive } from '../../fakes/tar.ts';
import { codeOf } from '../../fakes/failure.ts';
import { asTar, layout } from '../images/roots/oci-fixture.ts';

let work: string;

beforeAll(async () => {
  work = mkdtempSync(path.join(tmpdir(), 'mock-image-'));
  const root = path.join(work, 'root');
  for (const name of ['bin', 'etc', 'srv/closed']) mkdirSync(path.join(root, name), { recursive: true });
  copyFileSync('/usr/bin/busybox', path.join(root, 'bin/busybox'));
  for (const name of ['sh', 'cat', 'ls', 'stat', 'id', 'rm', 'mkdir', 'mount'])
    symlinkSync('busybox', path.join(root, 'bin', name));
  writeFileSync(path.join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nwww:x:33:44::/srv:/bin/sh\n');
  const lower = execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-c', '.'], { maxBuffer: 1 << 26 });
  const upper = archive(
    { name: 'srv/owned', body: 'x', uid: 33, mode: 0o600, mtime: 1_700_000_000 },
    { name: 'srv/again', type: '1', link: 'srv/owned' },
    { name: 'srv/pipe', type: '6' },
    { name: 'srv/out', type: '2', link: '/etc/hostname' },
  );
  const config = { Env: ['PATH=/bin', 'GREETING=hello'], User: 'www', WorkingDir: '/srv' };
  const source = path.join(work, 'app.tar');
  writeFileSync(source, asTar(layout({ layers: [lower, upper], config })));
  await importImage(source, { name: 'app' });
});
afterAll(() => {
  rmSync(work, { recursive: true });
  rmSync(places().roots, { recursive: true });
});

it("runs an image's commands on the mock, in a root of their own", async () => {
  const vm = await Vm.create({ hypervisor: 'mock', name: 'in-image', image: 'app' });
  try {
    const own = vmFiles.root(path.join(places().vms, 'in-image'));
    expect((await vm.exec('pwd; id -u; echo $GREETING', { check: true })).stdout).toBe('/srv\n33\nhello\n');
    const look =
      "stat -c '%a %u %h %Y' /srv/owned; stat -c %F /srv/pipe; cat /srv/out /etc/hosts; ls /; ls -d /proc/self /dev/null /sys/kernel";
    const { stdout } = await vm.exec(look, { check: true, user: 'root' });
    expect(stdout).toMatch(/^600 33 2 1700000000\nfifo\nin-image\n127\.0\.0\.1 localhost/);
    expect(stdout).toContain('bin\ndev\netc\nproc\nrun\nsrv\nsys\ntmp\n');
    await vm.exec('echo mine >/srv/new && rm /srv/again && mkdir -m 0 /srv/closed/inside', {
      check: true,
      user: 'root',
    });
    expect(readFileSync(path.join(own, 'srv/new'), 'utf8')).toBe('mine\n');
    // The host has its own still, and the image is as it was.
    expect(existsSync('/srv/new')).toBe(false);
    expect(await codeOf(vm.exec(['/usr/bin/env']))).toBe('GUEST_NOT_FOUND');
    const made = await vm.commit('app:2');
    expect(made.manifest.config.user).toBe('www');
    await removeRootImage('app:2');
    await vm.stop();
    await vm.start();
    expect((await vm.exec('ls /srv', { check: true })).stdout).toBe('again\nclosed\nout\nowned\npipe\n');
    await vm.stop();
  } finally {
    await vm.remove();
  }
});

it('refuses a disk, which it has no machine to mount', async () => {
  const disk = path.join(work, 'root.ext4');
  execFileSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', disk, '1M'], { stdio: 'pipe' });
  expect(await codeOf(Vm.create({ hypervisor: 'mock', image: disk }))).toBe('UNSUPPORTED');
  expect(await codeOf(Vm.create({ hypervisor: 'mock', image: 'app', initrd: '/bin/true' }))).toBe('INVALID_CONFIG');
  expect(await codeOf(Vm.create({ hypervisor: 'mock', image: 'none' }))).toBe('IMAGE_NOT_FOUND');
  expect(await Vm.list()).toEqual([]);
});

it('copies folders in, and back when it is stopped: out through no link, and what is read-only not at all', async () => {
  const [shared, closed] = [path.join(work, 'shared'), path.join(work, 'closed')];
  for (const folder of [shared, closed]) mkdirSync(folder);
  for (const name of ['old', 'changed', 'gone']) writeFileSync(path.join(shared, name), name);
  symlinkSync(work, path.join(shared, 'out'));
  writeFileSync(path.join(closed, 'file'), 'closed');
  const told: string[] = [];
  const devices: DeviceSpec[] = [
    { kind: 'fs', path: shared, mountAt: '/deep/er/work' },
    { kind: 'fs', path: closed, mountAt: '/ro', readOnly: true },
  ];
  const vm = await Vm.create({
    hypervisor: 'mock',
    image: 'app',
    name: 'copies',
    devices,
    onEvent: (event) => event.type === 'notice' && told.push(event.message),
  });
  const inGuest = (script: string): PromiseLike<{ stdout: string }> =>
    vm.exec(`cd /deep/er/work && ${script}`, { check: true, user: 'root' });
  const read = (name: string): string => readFileSync(path.join(shared, name), 'utf8');
  try {
    expect(told).toEqual([
      `mock shares no folders: ${shared} is copied to /deep/er/work, and back when the VM is stopped or removed`,
      `mock shares no folders: /ro is a copy of ${closed} as it is now`,
    ]);
    expect((await vm.inspect()).devices.map(({ mountAt, copied }) => [mountAt, copied])).toEqual([
      ['/deep/er/work', 'files'],
      ['/ro', 'files'],
    ]);
    const { stdout } = await inGuest(
      'cat old && echo new >changed && rm gone && mkdir more && echo y >more/file; echo x >/ro/file || echo closed',
    );
    expect(stdout).toBe('oldclosed\n');
    const first = { written: 3, removed: 1, conflicts: [], skipped: 0 };
    expect(await vm.bringBack()).toEqual(first);
    expect([read('changed'), read('more/file'), existsSync(path.join(shared, 'gone'))]).toEqual([
      'new\n',
      'y\n',
      false,
    ]);
    expect(await vm.bringBack()).toEqual({ ...first, written: 0, removed: 0 });

    // What has changed here stays, and what both sides have changed is there twice.
    writeFileSync(path.join(shared, 'old'), 'of the host');
    writeFileSync(path.join(shared, 'changed'), 'here');
    await inGuest('echo there >changed');
    const { conflicts } = await vm.bringBack();
    expect(conflicts).toEqual([{ path: path.join(shared, 'changed'), copy: path.join(shared, 'changed.from-copies') }]);
    expect([read('old'), read('changed'), read('changed.from-copies')]).toEqual(['of the host', 'here', 'there\n']);

    // A link that leads out is replaced by the guest's folder, and never written through.
    await inGuest('rm out && mkdir out && echo x >out/escaped');
    await vm.pause();
    expect(await codeOf(vm.stop())).toBe('INVALID_STATE');
    expect(await codeOf(vm.remove())).toBe('INVALID_STATE');
    await vm.resume();
    await inGuest('echo last >last');
    await vm.stop({ onNotice: (notice) => told.push(notice) });
    expect([read('out/escaped'), read('last')]).toEqual(['x\n', 'last\n']);
    expect(existsSync(path.join(work, 'escaped'))).toBe(false);
    expect(readFileSync(path.join(closed, 'file'), 'utf8')).toBe('closed');
    expect(told).toHaveLength(2);
  } finally {
    await vm.remove();
  }
  const at = (folder: string): Promise<string> =>
    codeOf(Vm.create({ hypervisor: 'mock', image: 'app', devices: [{ kind: 'fs', path: folder, mountAt: '/x' }] }));
  expect(await at(path.join(work, 'none'))).toBe('FILE_NOT_FOUND');
  expect(await at(path.join(closed, 'file'))).toBe('FILE_INVALID');
});

it('takes folders while it runs, gives them back, and loses nothing when it is removed unless it is forced', async () => {
  const shared = path.join(work, 'later');
  mkdirSync(shared);
  writeFileSync(path.join(shared, 'file'), 'file');
  const at = (name: string): string => path.join(shared, name);
  const vm = await Vm.create({ hypervisor: 'mock', image: 'app' });
  const spec: DeviceSpec = { kind: 'fs', path: shared, mountAt: '/srv', id: 'later' };
  const write = (text: string): PromiseLike<unknown> =>
    vm.exec(`echo ${text} >/srv/file`, { check: true, user: 'root' });
  try {
    expect(await vm.attachDevice(spec)).toEqual({ id: 'later', kind: 'fs', mountAt: '/srv', copied: 'files' });
    expect(await codeOf(vm.attachDevice({ ...spec, id: 'other' }))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(vm.attachDevice({ ...spec, id: 'none', mountAt: '/x', path: at('none') }))).toBe(
      'FILE_NOT_FOUND',
    );
    await write('one');
    await vm.detachDevice('later');
    // What the image has at that place is the image's.
    expect([readFileSync(at('file'), 'utf8'), readdirSync(shared)]).toEqual(['one\n', ['file']]);
    await write('two');
    await vm.attachDevice(spec);
    expect((await vm.exec('cat /srv/file', { check: true })).stdout).toBe('one\n');
    await write('three');
    rmSync(at('file'));
    await vm.remove();
    expect(readFileSync(at('file'), 'utf8')).toBe('three\n');
  } finally {
    await vm.remove({ force: true });
  }
  const forced = await Vm.create({ hypervisor: 'mock', image: 'app', devices: [spec] });
  await forced.exec('echo lost >/srv/file', { check: true, user: 'root' });
  rmSync(shared, { recursive: true });
  expect(await codeOf(forced.remove())).toBe('FILE_NOT_FOUND');
  expect((await forced.inspect()).status).toBe('running');
  await expect(forced[Symbol.asyncDispose]()).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
  expect(await Vm.list()).toEqual([]);
});

it('does the same at the command line: run, sync and stop, with a line for what changed on both sides', async () => {
  const shared = path.join(work, 'cli');
  mkdirSync(shared);
  const read = (name: string): string => readFileSync(path.join(shared, name), 'utf8');
  const cli = (...words: string[]): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/polyvisor.js', ...words], {
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);
    return `${stdout}${stderr}`;
  };
  const vm = ['--hypervisor', 'mock', '--image', 'app', '-q'];
  const mount = ['--mount', `type=bind,source=${shared},target=/m`];
  cli('run', ...vm, ...mount, '--user', 'root', '--', '/bin/sh', '-c', 'echo run >/m/file');
  expect(read('file')).toBe('run\n');
  cli('run', '-d', '--name', 'synced', ...vm, '-v', `${shared}:/m`);
  try {
    const write = (text: string): string =>
      cli('exec', '--user', 'root', 'synced', '--', '/bin/sh', '-c', `echo ${text} >/m/file`);
    write('synced');
    expect(cli('sync', 'synced')).toBe('synced\n');
    expect(cli('attach', 'folder', 'synced', `${shared}:/n:ro`, '--id', 'again')).toBe(
      'again\t/n\npolyvisor: synced: mock shares no folders: /n is a copy\n',
    );
    expect(cli('detach', 'synced', 'again')).toBe('again\n');
    expect(read('file')).toBe('synced\n');
    writeFileSync(path.join(shared, 'file'), 'of the host');
    write('of the guest');
    const told = `polyvisor: synced: ${shared}/file has changed here and in the guest: the guest's is ${shared}/file.from-synced\n`;
    expect(cli('stop', 'synced')).toBe(`synced\n${told}`);
    expect([read('file'), read('file.from-synced')]).toEqual(['of the host', 'of the guest\n']);
  } finally {
    cli('rm', '-f', 'synced');
  }
  expect(await Vm.list()).toEqual([]);
});
