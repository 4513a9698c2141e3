import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readdirSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { importImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places, vmFiles } from '../../src/state/paths.ts';
import { archive, pax } from '../fakes/tar.ts';
import { codeOf } from '../fakes/failure.ts';
import { asTar, layout } from '../unit/images/roots/oci-fixture.ts';
import { smallGuest, withGuest } from './guest.ts';

let work: string;

beforeAll(async () => {
  work = mkdtempSync(path.join(tmpdir(), 'images-'));
  const root = path.join(work, 'root');
  for (const name of ['bin', 'etc', 'srv', 'tmp', 'run/lock']) mkdirSync(path.join(root, name), { recursive: true });
  copyFileSync('/usr/bin/busybox', path.join(root, 'bin/busybox'));
  const applets = ['sh', 'cat', 'ls', 'stat', 'id', 'hostname', 'env', 'pwd', 'touch', 'dd', 'df', 'ln'];
  for (const name of applets) symlinkSync('busybox', path.join(root, 'bin', name));
  writeFileSync(path.join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nwww:x:33:44::/srv:/bin/sh\n');
  // As a container's runtime leaves it.
  writeFileSync(path.join(root, 'etc/hosts'), '');
  writeFileSync(path.join(root, 'srv/tool'), 'tool');
  chmodSync(path.join(root, 'srv/tool'), 0o4711);
  const lower = execFileSync('tar', ['-C', root, '-c', '.'], { maxBuffer: 1 << 26 });
  const upper = archive(
    { name: 'srv/again', type: '1', link: 'srv/tool' },
    { name: 'srv/owned', body: 'x', uid: 70_000, mode: 0o600 },
    pax({ 'SCHILY.xattr.security.capability': Buffer.from('0100000200200000000000000000000000000000', 'hex') }),
    { name: 'bin/capable', body: '' },
    { name: 'etc/.wh.none' },
    { name: 'pipe', type: '6' },
  );
  const config = {
    Entrypoint: ['/bin/sh', '-c'],
    Cmd: ['echo from the image'],
    Env: ['PATH=/bin', 'GREETING=hello world'],
    User: 'www',
    WorkingDir: '/srv/work',
  };
  const source = path.join(work, 'app.tar');
  writeFileSync(source, asTar(layout({ layers: [lower, upper], config })));
  await importImage(source, { name: 'app' });
});
afterAll(() => {
  rmSync(work, { recursive: true });
  rmSync(places().roots, { recursive: true });
});

it('runs commands in an image as its configuration says, with what a container expects around them', async () => {
  await withGuest({ image: 'app', name: 'named' }, async (vm) => {
    const sh = async (script: string, user = 'root'): Promise<string> =>
      (await vm.exec(script, { check: true, user })).stdout.trim();
    expect((await vm.exec('pwd; id -u; id -g; echo $GREETING', { check: true })).stdout).toBe(
      '/srv/work\n33\n44\nhello world\n',
    );
    expect((await vm.exec('id -u; echo $GREETING', { user: '4711:12', env: { GREETING: 'x' } })).stdout).toBe(
      '4711\nx\n',
    );
    expect(await codeOf(vm.exec(['id'], { user: 'nobody-there' }))).toBe('EXEC_FAILED');
    expect(vm.imageConfig?.cmd).toEqual(['echo from the image']);
    // All VMs of an image read its one file: none has a copy.
    const copies = vmFiles.jailCopies(path.join(places().vms, 'named'));
    expect(existsSync(copies) ? readdirSync(copies) : []).toEqual([]);
    const used = execFileSync('du', ['-sk', path.join(places().vms, 'named')], { encoding: 'utf8' });
    expect(Number.parseInt(used, 10)).toBeLessThan(512);
    expect(await sh('stat -c "%a %u %h" /srv/tool /srv/again')).toBe('4711 0 2\n4711 0 2');
    expect(await sh('stat -c "%a %u %s %F" /srv/owned /pipe')).toBe('600 70000 1 regular file\n644 0 0 fifo');
    expect(await sh('cat /etc/hostname; hostname')).toBe('named\nnamed');
    expect(await sh('cat /etc/hosts')).toContain('127.0.1.1 named');
    expect(await sh('stat -c "%n %a" /tmp /dev/shm /etc/resolv.conf /run/lock; ls /proc/1/stat /sys/kernel')).toMatch(
      /^\/tmp 755\n\/dev\/shm 1777\n\/etc\/resolv.conf 644\n\/run\/lock 755\n/,
    );
    expect(await sh('echo x >/srv/tool; cat /srv/tool; ls -d /dev/null /dev/fd /dev/ptmx')).toMatch(/^x\n/);
    // What the guest writes is limited, and nothing of it gets to the image.
    expect(await sh('dd if=/dev/zero of=/full bs=1M 2>&1 || true; df -m / >/dev/null && echo lives')).toMatch(
      /No space left on device[\s\S]*lives$/,
    );
  });
});

it('clones of a template with an image write above it, each for itself', async () => {
  await using template = await Vm.template({ ...smallGuest, image: 'app', name: 'app' });
  const clones = await Promise.all([template.clone(), template.clone({ image: 'app' })]);
  const root = { check: true, user: 'root' } as const;
  try {
    const [one, two] = clones;
    await one.exec('echo mine >/srv/tool; echo new >/srv/new', root);
    expect((await two.exec('cat /srv/tool; ls /srv', root)).stdout).toBe('toolagain\nowned\ntool\nwork\n');
    expect(await codeOf(template.clone({ image: 'default' }))).toBe('INVALID_CONFIG');
    expect((await one.exec('cat /srv/tool /srv/new', root)).stdout).toBe('mine\nnew\n');
    expect((await one.exec('id -u', { check: true })).stdout).toBe('33\n');
  } finally {
    for (const clone of clones) await clone.remove();
  }
});

it('runs an image that holds one program and no shell, as an ordinary command line', async () => {
  const file = '/usr/bin/busybox';
  const source = path.join(work, 'scratch.tar');
  const made = path.join(work, 'scratch');
  mkdirSync(made);
  copyFileSync(file, path.join(made, 'busybox'));
  execFileSync('tar', ['-C', made, '-cf', source, 'busybox']);
  const { file: image } = await importImage(source, { name: 'scratch' });
  const cli = (...words: string[]): string =>
    execFileSync(process.execPath, ['bin/polyvisor.js', ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const small = ['-q', '--accel', 'tcg', '-m', '256M'];
  expect(cli('run', ...small, 'scratch', '/busybox', 'echo', '-n', 'it runs')).toBe('it runs');
  expect(cli('run', ...small, 'app')).toBe('from the image\n');
  expect(cli('image', 'ls')).toMatch(/^app +\S+ +root[\s\S]*^scratch /m);
  expect(statSync(image).mode & 0o777).toBe(0o444);
  expect(cli('image', 'rm', 'scratch')).toBe('scratch\n');
  expect(await codeOf(Vm.create({ ...smallGuest, image: 'scratch' }))).toBe('IMAGE_NOT_FOUND');
});
