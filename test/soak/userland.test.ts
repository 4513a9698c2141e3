import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RootManifest } from '../../src/images/roots/root-image.ts';
import { importImage, removeRootImage } from '../../src/sandbox/root-images.ts';
import { saveImage } from '../../src/sandbox/save-image.ts';
import { Vm } from '../../src/sandbox/vm.ts';
import { places } from '../../src/state/paths.ts';

/*
 * Images as people make them: of Debian packages, by umoci, skopeo and buildah. They are made on the spot, which takes a few minutes and
 * needs these programs, mmdebstrap and Debian's archive.
 */

const tools = ['mmdebstrap', 'umoci', 'skopeo', 'buildah'];
const missing = tools.filter((name) => spawnSync(name, ['--version']).error !== undefined);

const env = ['GREETING=hello from the image'];
let work: string;
let manifest: RootManifest;

function tool(name: string, ...words: string[]): string {
  return execFileSync(name, words, {
    cwd: work,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 26,
  });
}

beforeAll(async () => {
  if (missing.length > 0) return;
  work = mkdtempSync(path.join(tmpdir(), 'userland-'));
  writeFileSync(path.join(work, 'policy.json'), JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  const own = /Depends: python(3\.\d+)$/m.exec(tool('apt-cache', 'depends', 'python3'))?.[1] ?? '';
  // The host's own, for which its sources are.
  const suite = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable';
  const packages = `python3,libpython${own}-testsuite,nodejs`;
  const slim = ['--variant=minbase', '--format=tar', '--aptopt=APT::Install-Recommends "false"'];
  tool('mmdebstrap', ...slim, `--include=${packages}`, suite, 'root.tar');
  // A first layer of packages, and above it one that removes, replaces and adds.
  tool('umoci', 'init', '--layout', 'layout');
  tool('umoci', 'new', '--image', 'layout:app');
  tool('umoci', 'raw', 'add-layer', '--image', 'layout:app', 'root.tar');
  mkdirSync(path.join(work, 'tool'));
  writeFileSync(path.join(work, 'tool/answer.js'), 'console.log(JSON.stringify({ answer: 6 * 7 }))\n');
  tool('umoci', 'insert', '--image', 'layout:app', 'tool', '/srv/tool');
  tool('umoci', 'insert', '--image', 'layout:app', '--whiteout', '/usr/share/doc');
  tool('umoci', 'config', '--image', 'layout:app', '--config.env', env[0] ?? '', '--config.workingdir', '/srv/tool');
  ({ manifest } = await importImage(path.join(work, 'layout'), { name: 'umoci' }));
}, 1_200_000);
afterAll(() => {
  if (missing.length > 0) return;
  rmSync(work, { recursive: true });
  rmSync(places().roots, { recursive: true, force: true });
});

it("runs Python's own tests, and Node.js, in an image that umoci made, on QEMU and on the mock", async ({ skip }) => {
  if (missing.length > 0) return skip(`this host has no ${missing.join(', ')}`);
  expect(manifest.config).toMatchObject({ workdir: '/srv/tool' });
  for (const hypervisor of ['qemu', 'mock']) {
    const vm = await Vm.create({
      hypervisor,
      image: 'umoci',
      memoryMiB: 1024,
      ...(hypervisor === 'qemu' ? { accel: 'auto' } : {}),
    });
    try {
      const tests = await vm.exec(['python3', '-m', 'test', 'test_json'], { timeoutMs: 1_200_000 });
      expect(`${tests.stdout}${tests.stderr}`).toMatch(/Result: SUCCESS|Tests result: SUCCESS/);
      expect(tests.exitCode).toBe(0);
      expect((await vm.exec(['node', 'answer.js'], { check: true })).stdout).toBe('{"answer":42}\n');
      expect((await vm.exec('echo $GREETING; ls -d /usr/share/doc 2>&1', {})).stdout).toMatch(
        /^hello from the image\nls: cannot access/,
      );
      expect((await vm.exec(['id', '-un'], { check: true, user: 'daemon' })).stdout).toBe('daemon\n');
    } finally {
      await vm.remove();
    }
  }
});

it('takes the same of skopeo and of buildah in each of their forms, and gives it back', async ({ skip }) => {
  if (missing.length > 0) return skip(`this host has no ${missing.join(', ')}`);
  const copy = (from: string, to: string): string => tool('skopeo', '--policy', 'policy.json', 'copy', '-q', from, to);
  copy('oci:layout:app', 'oci-archive:app.oci:app');
  copy('oci:layout:app', 'docker-archive:app.tar:app:1');
  copy('oci:layout:app', 'dir:app.dir');
  for (const [file, name] of [
    ['app.oci', 'app'],
    ['app.tar', 'app:1'],
  ] as const) {
    const made = await importImage(path.join(work, file));
    expect(made).toMatchObject({ name, manifest: { root: manifest.root, config: manifest.config } });
  }
  // What is saved is an image to them, too, and so is what they make of it.
  await saveImage('app', path.join(work, 'saved.oci'));
  copy('oci-archive:saved.oci', 'oci:again:app');
  expect((await importImage(path.join(work, 'again'), { name: 'again' })).manifest.config).toEqual(manifest.config);
  const storage = [
    '--root',
    path.join(work, 'storage'),
    '--runroot',
    path.join(work, 'run'),
    '--storage-driver',
    'vfs',
  ];
  const buildah = (...words: string[]): string => tool('buildah', ...storage, ...words).trim();
  const container = buildah('from', '--signature-policy', 'policy.json', 'oci-archive:saved.oci');
  writeFileSync(path.join(work, 'tool/second.py'), 'print("by buildah")\n');
  buildah('copy', container, 'tool/second.py', '/srv/second.py');
  buildah('config', '--cmd', '["python3", "/srv/second.py"]', '--user', 'games', container);
  buildah('commit', '-q', '--signature-policy', 'policy.json', container, 'oci-archive:built.oci:built:2');
  const built = await importImage(path.join(work, 'built.oci'));
  expect(built).toMatchObject({ name: 'built:2', manifest: { config: { user: 'games' } } });
  const cli = (...words: string[]): string =>
    execFileSync(process.execPath, ['bin/polyvisor.js', ...words], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  expect(cli('run', '-q', '-m', '512M', 'built:2')).toBe('by buildah\n');
  expect(cli('run', '-q', '-m', '512M', 'built:2', 'id', '-un')).toBe('games\n');
  buildah('rm', container);
  buildah('rmi', '--all', '--force');
  for (const name of ['app', 'app:1', 'again', 'built:2']) await removeRootImage(name);
});
