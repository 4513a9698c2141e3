import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { importImage } from '../../src/sandbox/root-images.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';
import { smallGuest } from './guest.ts';

/*
 * A small image of Debian's Python as people make one: by umoci, skopeo and buildah. test/soak/userland.test.ts does more with a larger one.
 */

const tools = ['mmdebstrap', 'umoci', 'skopeo', 'buildah'];
const missing = tools.filter((name) => spawnSync(name, ['--version']).error !== undefined);
let work: string;

function tool(name: string, ...words: string[]): string {
  return execFileSync(name, words, { cwd: work, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

beforeAll(() => {
  if (missing.length > 0) return;
  work = mkdtempSync(path.join(tmpdir(), 'userland-'));
  writeFileSync(path.join(work, 'policy.json'), JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  const suite = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable';
  // The packages' files alone: nothing is configured, which takes most of the time.
  tool(
    'mmdebstrap',
    '--variant=extract',
    '--format=tar',
    '--include=python3-minimal,busybox-static',
    suite,
    'root.tar',
  );
  const app = path.join(work, 'app');
  mkdirSync(app);
  writeFileSync(path.join(app, 'passwd'), 'root:x:0:0::/root:/bin/sh\ngames:x:5:60::/usr/games:/bin/sh\n');
  writeFileSync(path.join(app, 'first.py'), 'import sys\nprint(sys.version_info.major, 6 * 7)\n');
  tool('umoci', 'init', '--layout', 'layout');
  tool('umoci', 'new', '--image', 'layout:app');
  tool('umoci', 'raw', 'add-layer', '--image', 'layout:app', 'root.tar');
  tool('umoci', 'insert', '--image', 'layout:app', 'app/passwd', '/etc/passwd');
  tool('umoci', 'insert', '--image', 'layout:app', 'app/first.py', '/srv/first.py');
  tool('umoci', 'insert', '--image', 'layout:app', '--whiteout', '/usr/share/doc');
  tool('umoci', 'config', '--image', 'layout:app', '--config.env', 'GREETING=hello', '--config.workingdir', '/srv');
}, 120_000);
afterAll(() => {
  if (missing.length > 0) return;
  rmSync(work, { recursive: true });
});
afterEach(() => rmSync(places().roots, { recursive: true, force: true }));

it('runs Python in what umoci and skopeo make, on QEMU and on the mock', async ({ skip }) => {
  if (missing.length > 0) return skip(`this host has no ${missing.join(', ')}`);
  const { manifest } = await importImage(path.join(work, 'layout'), { name: 'umoci' });
  expect(manifest.config).toMatchObject({ workdir: '/srv' });
  tool('skopeo', '--policy', 'policy.json', 'copy', '-q', 'oci:layout:app', 'docker-archive:app.tar:app:1');
  // The same files, so the same file system.
  expect((await importImage(path.join(work, 'app.tar'))).manifest).toMatchObject({
    name: 'app:1',
    root: manifest.root,
    config: manifest.config,
  });
  for (const how of [smallGuest, { hypervisor: 'mock' }] as const) {
    const vm = await Vm.create({ ...how, image: 'umoci' });
    try {
      expect((await vm.exec(['python3', 'first.py'], { check: true })).stdout).toBe('3 42\n');
      const look = ['busybox', 'sh', '-c', 'busybox ls -d /usr/share/doc 2>&1; busybox id -un'];
      expect((await vm.exec(look)).stdout).toMatch(/No such file.*\nroot\n$/);
    } finally {
      await vm.remove();
    }
  }
});

it('runs what buildah makes of it, as the user that it says', async ({ skip }) => {
  if (missing.length > 0) return skip(`this host has no ${missing.join(', ')}`);
  const folders = ['--root', path.join(work, 'storage'), '--runroot', path.join(work, 'run')];
  const storage = [...folders, '--storage-driver', 'vfs'];
  const { status, stderr } = spawnSync('buildah', [...storage, 'info'], { encoding: 'utf8' });
  if (status !== 0) return skip(`this user may not run buildah: ${stderr.trim().split('\n').at(-1) ?? ''}`);
  const buildah = (...words: string[]): string => tool('buildah', ...storage, ...words).trim();
  const container = buildah('from', '--signature-policy', 'policy.json', 'oci:layout:app');
  writeFileSync(path.join(work, 'second.py'), 'import os\nprint(os.environ["GREETING"], os.getuid())\n');
  buildah('copy', container, 'second.py', '/srv/second.py');
  buildah('config', '--cmd', '["python3", "/srv/second.py"]', '--user', 'games', container);
  buildah('commit', '-q', '--signature-policy', 'policy.json', container, 'oci-archive:built.oci:built:2');
  buildah('rm', container);
  buildah('rmi', '--all', '--force');
  expect(await importImage(path.join(work, 'built.oci'))).toMatchObject({
    name: 'built:2',
    manifest: { config: { user: 'games', cmd: ['python3', '/srv/second.py'] } },
  });
  const run = [...['run', '-q', '--accel', 'tcg', '-m', '256M'], 'built:2'];
  const ran = execFileSync(process.execPath, ['bin/polyvisor.js', ...run], { encoding: 'utf8' });
  expect(ran).toBe('hello 5\n');
});
