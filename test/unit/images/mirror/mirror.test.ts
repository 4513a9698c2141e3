import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { buildDefaultImage, type BuildOptions } from '../../../../src/images/build.ts';
import type { GuestImage } from '../../../../src/images/image.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { type Mirror, serveMirror } from './mirror-fixture.ts';

let folder: string;
let tools: string;
let cacheFolder: string;
let agentPath: string;
let mirror: Mirror;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirror-'));
  // A host without apt and dpkg.
  tools = path.join(folder, 'tools');
  mkdirSync(tools);
  for (const name of ['gpgv', 'tar', 'xz', 'gzip', 'sh', 'printf'])
    symlinkSync(`/usr/bin/${name}`, path.join(tools, name));
  agentPath = path.join(folder, 'agent');
  writeFileSync(agentPath, 'the agent');
  mirror = await serveMirror(path.join(folder, 'mirror'));
});
afterAll(async () => {
  await mirror.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  cacheFolder = mkdtempSync(path.join(folder, 'cache-'));
  vi.stubEnv('PATH', tools);
  mirror.publish();
  mirror.asked.length = 0;
});
afterEach(() => vi.unstubAllEnvs());

function build(options: Partial<BuildOptions['mirror']> = {}, more: Partial<BuildOptions> = {}): Promise<GuestImage> {
  const { url, keyring } = mirror;
  return buildDefaultImage({ cacheFolder, agentPath, mirror: { url, keyring, ...options }, ...more });
}

/** A failed build leaves nothing but packages that were downloaded whole. */
const left = (): string[] => readdirSync(cacheFolder).filter((name) => name !== '.packages');

it('makes the default guest on a host without apt and dpkg, of packages that a signature vouches for', async () => {
  const image = await build();
  expect(image.manifest).toMatchObject({
    kernelRelease: '6.1.0-1-cloud',
    bootModules: ['virtio', 'virtio_pci', 'virtio_console'],
    packages: [{ version: '1' }, { name: 'busybox-static' }],
  });
  expect(left()).toEqual([path.basename(image.folder)]);
  expect(mirror.asked.some((name) => name.includes('/by-hash/SHA256/'))).toBe(true);
  // What is there already is not asked for again.
  mirror.asked.length = 0;
  expect(await build({}, { force: true })).toEqual(image);
  expect(mirror.asked.filter((name) => name.startsWith('pool/'))).toEqual([]);
});

it('takes a digest in place of a signature, by a variable as well', async () => {
  rmSync(path.join(tools, 'gpgv'));
  try {
    mirror.publish({ byHash: false });
    const image = await build({ sha256: mirror.digest(), keyring: undefined });
    expect(mirror.asked.filter((name) => name.endsWith('InRelease'))).toEqual([]);
    vi.stubEnv('POLYVISOR_MIRROR', mirror.url);
    vi.stubEnv('POLYVISOR_MIRROR_SHA256', mirror.digest());
    expect(await buildDefaultImage({ cacheFolder, agentPath })).toEqual(image);
    const wrong = await failure(build({ sha256: 'f'.repeat(64) }));
    expect([wrong.code, wrong.message]).toEqual(['IMAGE_BUILD_FAILED', expect.stringContaining(mirror.digest())]);
    mirror.asked.length = 0;
    expect(await failure(build())).toMatchObject({
      code: 'HOST_MISSING',
      advice: expect.stringMatching(/gpgv.*--mirror-sha256.*--kernel host/s),
    });
    // Nothing is asked for that could not be checked.
    expect(mirror.asked).toEqual([]);
  } finally {
    symlinkSync('/usr/bin/gpgv', path.join(tools, 'gpgv'));
  }
});

it('believes nothing else', async () => {
  const changed = async (name: string, change: (data: Buffer) => Buffer): Promise<string> => {
    mirror.publish();
    const found = [...mirror.files.keys()].find((it) => it.includes(name)) as string;
    const before = mirror.files.get(found) as Buffer;
    mirror.files.set(found, change(before));
    try {
      const { code, message } = await failure(build());
      expect(left()).toEqual([]);
      return `${code}: ${message.split('\n', 1)[0]}`;
    } finally {
      mirror.files.set(found, before);
    }
  };
  const turned = (data: Buffer): Buffer => {
    const copy = Buffer.from(data);
    copy.writeUInt8(copy.readUInt8(data.length - 20) ^ 1, data.length - 20);
    return copy;
  };
  const list = 'by-hash';
  for (const fresh of [...mirror.files.keys()].filter((name) => name.includes(list))) mirror.files.delete(fresh);
  const text = (change: (text: string) => string) => (data: Buffer) => Buffer.from(change(data.toString()));
  const digits = text((it) => it.replace(/^ [0-9a-f]{64} /m, ` ${'0'.repeat(64)} `));
  expect(await changed('InRelease', digits)).toMatch(/^IMAGE_BUILD_FAILED: .*no good signature/);
  for (const change of [
    () => 'nonsense',
    (it: string) => `SHA256:\n${it}`,
    (it: string) => `${it}SHA256:\n`,
    (it: string) => `${it}${it}`,
  ])
    expect(await changed('InRelease', text(change))).toMatch(/^IMAGE_BUILD_FAILED: .*no signed message/);
  expect(await changed(list, turned)).toMatch(/^IMAGE_BUILD_FAILED: .*by-hash.*is not what/);
  expect(await changed(list, (data) => Buffer.concat([data, data]))).toMatch(/^IMAGE_BUILD_FAILED: .*more than/);
  expect(await changed('linux-image', turned)).toMatch(/^IMAGE_BUILD_FAILED: .*linux-image.*is not what/);
  expect(await changed('busybox', (data) => Buffer.concat([data, data]))).toMatch(/^IMAGE_BUILD_FAILED: .*is not what/);
  expect(await changed('busybox', (data) => data.subarray(0, -1))).toMatch(/^IMAGE_BUILD_FAILED: .*is not what/);
});

it('takes no other Debian for the one that is meant, and none that holds no longer', async () => {
  mirror.publish({ suite: 'bullseye' });
  expect(await failure(build())).toMatchObject({
    code: 'IMAGE_BUILD_FAILED',
    message: expect.stringMatching(/bullseye/),
  });
  mirror.publish({ validUntil: new Date(Date.now() - 1000) });
  expect(await failure(build())).toMatchObject({ code: 'IMAGE_BUILD_FAILED', message: expect.stringMatching(/valid/) });
  mirror.publish({ validUntil: new Date(Date.now() + 3_600_000) });
  expect((await build()).name).toBe('default');
});

it('repeats what a mirror says, and refuses what is none', async () => {
  expect(await failure(build({ suite: 'trixie' }))).toMatchObject({
    code: 'IMAGE_BUILD_FAILED',
    message: expect.stringMatching(/404/),
  });
  expect(await codeOf(build({ url: 'http://127.0.0.1:1/' }))).toBe('IMAGE_BUILD_FAILED');
  expect(await codeOf(build({ url: 'http://deb.debian.org/debian' }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(build({ url: 'nonsense' }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(build({ suite: '../x' }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(build({ sha256: 'abc' }))).toBe('INVALID_ARGUMENT');
  expect(await codeOf(build({ keyring: path.join(folder, 'none') }))).toBe('HOST_MISSING');
  expect(await codeOf(build({}, { signal: AbortSignal.abort() }))).toBe('ABORTED');
  expect(left()).toEqual([]);
});
