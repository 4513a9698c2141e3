import { spawnSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { places } from '../../src/state/paths.ts';

// Debian's `nobody`: an ordinary user without anything.
const ordinary = { uid: 65534, gid: 65534 };
const asRoot = process.getuid?.() === 0;

let consumer: string;
let home: string;

/** Runs a program as an ordinary user, in the folder that the package is installed in. */
function asUser(command: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { PATH } = process.env;
  return spawnSync(command, args, {
    cwd: consumer,
    env: { PATH, HOME: home, XDG_RUNTIME_DIR: path.join(home, 'run'), TMPDIR: path.join(home, 'tmp') },
    encoding: 'utf8',
    ...(asRoot ? ordinary : {}),
  });
}

function polyvisor(...args: string[]): ReturnType<typeof asUser> {
  return asUser('node_modules/.bin/polyvisor', ...args);
}

/** Packs a package folder as npm would publish it. */
function pack(folder: string): string {
  const { stdout, stderr, status } = spawnSync(
    'npm',
    ['pack', '--silent', '--pack-destination', consumer, path.resolve(folder)],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`npm pack ${folder}: ${stderr}`);
  return `./${stdout.trim()}`;
}

/** The folders of all that a user's `npm install` would bring, dependencies of dependencies included. */
function dependencyFolders(): string[] {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, { dev?: boolean; optional?: boolean }>;
  };
  return Object.entries(packages)
    .filter(([folder, { dev, optional }]) => folder.startsWith('node_modules/') && !dev && !optional)
    .map(([folder]) => folder);
}

function ownedByUser(folder: string): void {
  if (!asRoot) return;
  chownSync(folder, ordinary.uid, ordinary.gid);
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    chownSync(path.join(folder, name), ordinary.uid, ordinary.gid);
  }
}

beforeAll(() => {
  consumer = mkdtempSync(path.join(tmpdir(), 'consumer-'));
  home = path.join(consumer, 'home');
  for (const folder of [home, path.join(home, 'run'), path.join(home, 'tmp')]) mkdirSync(folder, { mode: 0o700 });
  // The guest image is not what is tested here: take the one that is there.
  const images = path.join(home, '.cache', 'polyvisor', 'images');
  cpSync(realpathSync(places().images), images, {
    recursive: true,
    filter: (file) => !path.basename(file).startsWith('.b'),
  });
  writeFileSync(path.join(consumer, 'package.json'), '{ "private": true, "type": "module" }');
  // Dependencies come from this checkout, so that no registry is asked.
  const tarballs = ['.', ...dependencyFolders()].map(pack);
  ownedByUser(consumer);
  const { status, stderr } = asUser('npm', 'install', '--offline', '--no-audit', '--no-fund', ...tarballs);
  if (status !== 0) throw new Error(`npm install: ${stderr}`);
});

afterAll(() => rmSync(consumer, { recursive: true, force: true }));

describe('the packed tarball, installed in an empty folder by an ordinary user', () => {
  test('says its version', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(polyvisor('--version')).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
  });

  test('runs a command on the mock', () => {
    const { status, stdout, stderr } = polyvisor('run', '-q', '--hypervisor', 'mock', '--', 'echo', 'from the mock');
    expect({ status, stdout }, stderr).toEqual({ status: 0, stdout: 'from the mock\n' });
  });

  test('runs a command in a real machine', () => {
    const { status, stdout, stderr } = polyvisor('run', '-q', '--hypervisor', 'qemu', '--', 'uname', '-a');
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^Linux .*\n$/);
    expect(stdout).not.toContain(spawnSync('uname', ['-v'], { encoding: 'utf8' }).stdout.trim());
  });

  test('is a library', () => {
    writeFileSync(
      path.join(consumer, 'main.mjs'),
      `import { Vm } from 'polyvisor';
       const vm = await Vm.create({ hypervisor: 'mock' });
       try { process.stdout.write((await vm.exec(['echo', 'exec'])).stdout); } finally { await vm.remove(); }`,
    );
    const { status, stdout, stderr } = asUser(process.execPath, 'main.mjs');
    expect({ status, stdout }, stderr).toEqual({ status: 0, stdout: 'exec\n' });
  });

  test('leaves no machine behind', () => {
    expect(polyvisor('ls', '-a', '-q')).toMatchObject({ status: 0, stdout: '' });
  });
});
