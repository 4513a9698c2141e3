import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { buildRoot } from '../../../../src/images/roots/build-root.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { archive } from '../../../fakes/tar.ts';

let work: string;
let store: string;
const before = process.env['PATH'] ?? '';

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'build-'));
  store = path.join(work, 'store');
  mkdirSync(path.join(work, 'bin'));
  writeFileSync(path.join(work, 'made.tar'), archive({ name: 'usr/bin/python3', body: 'x' }));
  tool('for file; do :; done; echo "$@" >"$work/argv"; cp "$work/made.tar" "$file"');
  process.env['PATH'] = `${path.join(work, 'bin')}:${before}`;
});
afterEach(() => {
  process.env['PATH'] = before;
  rmSync(work, { recursive: true });
});

/** A stand-in for mmdebstrap. */
function tool(program: string): void {
  const file = path.join(work, 'bin', 'mmdebstrap');
  writeFileSync(file, `#!/bin/sh\nwork='${work}'\n${program}\n`);
  chmodSync(file, 0o755);
}

it('has mmdebstrap install the packages, and stores what it made', async () => {
  const image = await buildRoot({ store, name: 'tools', packages: ['python3', 'g++'], suite: 'trixie' });
  expect(image.name).toBe('tools');
  const argv = readFileSync(path.join(work, 'argv'), 'utf8');
  expect(argv).toMatch(/--include=python3,g\+\+ .*trixie \/.*\.tar\n$/);
});

it('tells what mmdebstrap says, and leaves nothing', async () => {
  tool('echo "I: hm" >&2; echo "E: Unable to locate package nono" >&2; echo "E: mmdebstrap failed to run" >&2; exit 1');
  const error = await failure(buildRoot({ store, name: 'tools', packages: ['nono'] }));
  expect([error.code, error.rawMessage]).toEqual([
    'IMAGE_BUILD_FAILED',
    'mmdebstrap failed: Unable to locate package nono',
  ]);
  expect(readdirSync(path.join(store, 'names'))).toEqual([]);
  expect(readdirSync(store).filter((name) => name.startsWith('.'))).toEqual([]);
});

it('lets mmdebstrap clear up when the build is aborted', async () => {
  const abort = new AbortController();
  tool('trap "echo cleared >\\"$work/cleared\\"; exit 1" TERM; echo >"$work/began"; while :; do sleep 0.05; done');
  const watcher = watch(work, (_, name) => {
    if (name === 'began') abort.abort();
  });
  try {
    const { signal } = abort;
    expect(await codeOf(buildRoot({ store, name: 'tools', packages: ['python3'], signal }))).toBe('ABORTED');
  } finally {
    watcher.close();
  }
  expect(readFileSync(path.join(work, 'cleared'), 'utf8')).toBe('cleared\n');
});

it('refuses what is no package, no version and no name before anything is run', async () => {
  for (const packages of [[], ['a,b'], ['--help'], ['x'], ['a b'], ['Upper']])
    expect(await codeOf(buildRoot({ store, name: 'tools', packages }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(buildRoot({ store, name: 'tools', packages: ['git'], suite: '--x' }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(buildRoot({ store, name: '/', packages: ['git'] }))).toBe('INVALID_NAME');
  expect(readdirSync(work)).not.toContain('argv');
});

it('says what is missing on a host without mmdebstrap', async () => {
  process.env['PATH'] = path.join(work, 'none');
  const error = await failure(buildRoot({ store, name: 'tools', packages: ['git'] }));
  expect([error.code, error.advice]).toEqual(['HOST_MISSING', 'Install the package mmdebstrap.']);
});
