import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
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
  const notices: string[] = [];
  const devices: DeviceSpec[] = [
    { kind: 'fs', path: shared, mountAt: '/deep/er/work' },
    { kind: 'fs', path: closed, mountAt: '/ro', readOnly: true },
  ];
  const vm = await Vm.create({
    hypervisor: 'mock',
    image: 'app',
    devices,
    onEvent: (event) => event.type === 'notice' && notices.push(event.message),
  });
  try {
    expect(notices).toEqual([
      `mock shares no folders: ${shared} is copied to /deep/er/work, and back when the VM is stopped`,
      `mock shares no folders: /ro is a copy of ${closed} as it is now`,
    ]);
    const script =
      'cd /deep/er/work && cat old && echo new >changed && rm gone && mkdir more && echo y >more/file; echo x >/ro/file || echo closed';
    const { stdout } = await vm.exec(script, { check: true, user: 'root' });
    expect(stdout).toBe('oldclosed\n');
    await vm.bringBack();
    expect(readFileSync(path.join(shared, 'changed'), 'utf8')).toBe('new\n');
    expect(readFileSync(path.join(shared, 'more/file'), 'utf8')).toBe('y\n');
    // What was removed there stays here.
    expect(existsSync(path.join(shared, 'gone'))).toBe(true);
    // A link in the way, here or there, is never written through.
    await vm.exec('cd /deep/er/work && rm out && mkdir out && echo x >out/escaped', { check: true, user: 'root' });
    expect(await codeOf(vm.stop())).toMatch(/ARCHIVE_INVALID|FILE_INVALID|IO/);
    expect(existsSync(path.join(work, 'escaped'))).toBe(false);
    expect((await vm.inspect()).status).toBe('running');
    await vm.exec('cd /deep/er/work && rm -r out && echo last >changed', { check: true, user: 'root' });
    await vm.stop();
    expect(readFileSync(path.join(shared, 'changed'), 'utf8')).toBe('last\n');
    expect(readFileSync(path.join(closed, 'file'), 'utf8')).toBe('closed');
  } finally {
    await vm.remove();
  }
  const at = (folder: string): Promise<string> =>
    codeOf(Vm.create({ hypervisor: 'mock', image: 'app', devices: [{ kind: 'fs', path: folder, mountAt: '/x' }] }));
  expect(await at(path.join(work, 'none'))).toBe('FILE_NOT_FOUND');
  expect(await at(path.join(closed, 'file'))).toBe('FILE_INVALID');
});
