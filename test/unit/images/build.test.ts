import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { buildDefaultImage, type BuildOptions } from '../../../src/images/build.ts';
import { foreignAgent } from '../../../src/config/package-files.ts';
import { defaultGuestOf } from '../../../src/images/default-guest.ts';
import { architectureOf, hostArchitecture } from '../../../src/images/host-architecture.ts';
import type { BuildEvent, GuestImage } from '../../../src/images/image.ts';
import { findImage, listImages } from '../../../src/images/store.ts';
import { makeRepository, type Repository } from './repository-fixture.ts';

let folder: string;
let cacheFolder: string;
let agentPath: string;
let repository: Repository;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'images-'));
  cacheFolder = path.join(folder, 'cache');
  agentPath = path.join(folder, 'agent');
  writeFileSync(agentPath, 'the agent');
  repository = makeRepository(path.join(folder, 'repository'));
  vi.stubEnv('PATH', `${repository.tools}:${process.env['PATH'] ?? ''}`);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function build(options: Partial<BuildOptions> = {}): Promise<GuestImage> {
  return buildDefaultImage({ cacheFolder, agentPath, ...options });
}

function contents(image: GuestImage): Buffer[] {
  return [image.kernel, image.initrd, image.bzImage ?? '', path.join(image.folder, 'manifest.json')].map((file) =>
    readFileSync(file),
  );
}

const downloads = (): string[] => repository.calls().filter((call) => call.includes(' download '));
/** What a failed build may leave: packages that were downloaded whole. */
const left = (): string[] => readdirSync(cacheFolder).filter((name) => name !== '.packages');

describe('buildDefaultImage', () => {
  it('makes a kernel, an initrd and a manifest', async () => {
    const events: BuildEvent[] = [];
    const image = await build({ onEvent: (event) => events.push(event) });
    expect(image.manifest).toMatchObject({
      name: 'default',
      architecture: hostArchitecture().linux,
      kernelRelease: '6.1.0-1-cloud',
      kernelFormat: 'elf',
      bootModules: ['virtio', 'virtio_pci', 'virtio_console'],
      otherModules: ['virtio_blk'],
    });
    // As the distribution packed it, for VMMs that take no other.
    expect(readFileSync(image.bzImage ?? '').toString('latin1', 0x202, 0x206)).toBe('HdrS');
    const initrd = readFileSync(image.initrd, 'latin1');
    const modules = '/lib/modules/6.1.0-1-cloud/kernel/drivers';
    expect(initrd).toContain(`${modules}/virtio.ko\n${modules}/virtio_pci.ko\n${modules}/virtio_console.ko\n`);
    expect(initrd).toContain('kernel/drivers/virtio_blk.ko: kernel/drivers/virtio.ko\n');
    expect(initrd).toContain('alias pci:v1 virtio_pci\n');
    expect(initrd).toContain('the agent');
    expect(initrd).toContain('usr/bin/env');
    expect(initrd).not.toContain('linuxrc\0');
    expect(initrd).not.toContain('~Module signature');
    expect([...new Set(events.map(({ phase }) => phase))]).toEqual([
      'resolve',
      'download',
      'unpack',
      'initrd',
      'store',
      'done',
    ]);
    expect(left()).toEqual([path.basename(image.folder)]);
  });

  it('gives the same bytes in another folder', async () => {
    const [one, two] = [await build(), await build({ cacheFolder: path.join(folder, 'other') })];
    expect(contents(two)).toEqual(contents(one));
  });

  it('makes it once, and again when told to', async () => {
    const first = await build();
    const unpacked = (): number => repository.calls().filter((call) => call.startsWith('dpkg-deb')).length;
    const before = unpacked();
    expect(await build()).toEqual(first);
    expect(unpacked()).toBe(before);
    appendFileSync(first.kernel, 'x');
    rmSync(first.initrd);
    expect(await build({ force: true })).toEqual(first);
    expect(unpacked()).toBe(before + 2);
  });

  it('replaces an image that is broken', async () => {
    const first = await build();
    const good = contents(first);
    writeFileSync(first.initrd, 'cut');
    expect(await findImage(cacheFolder, 'default')).toBeUndefined();
    expect(contents(await build())).toEqual(good);
  });

  it('makes another one for another agent, from the packages that it has', async () => {
    const first = await build();
    const before = downloads().length;
    writeFileSync(agentPath, 'a newer agent');
    const second = await build();
    expect(second.folder).not.toBe(first.folder);
    expect(downloads()).toHaveLength(before);
    expect(await findImage(cacheFolder, 'default', agentPath)).toEqual(second);
    expect(await listImages(cacheFolder)).toHaveLength(2);
  });

  it('makes another one for a newer kernel, and drops the old download', async () => {
    const first = await build();
    repository.publish('2');
    const second = await build();
    expect(second.manifest.packages[0]).toMatchObject({ version: '2' });
    expect(second.manifest.key).not.toBe(first.manifest.key);
    expect(readdirSync(path.join(cacheFolder, '.packages'))).toHaveLength(2);
  });

  it('lets two builders work at once', async () => {
    const [one, two] = await Promise.all([build(), build()]);
    expect(one).toEqual(two);
    expect(left()).toHaveLength(1);
  });

  it('fetches package lists of its own where the host has none', async () => {
    vi.stubEnv('FAKE_STALE', 'yes');
    expect((await build()).name).toBe('default');
    expect(repository.calls().some((call) => call.startsWith('apt-get') && call.endsWith(' update'))).toBe(true);
  });
});

describe('a guest of another architecture', () => {
  const other = hostArchitecture().debian === 'amd64' ? 'arm64' : 'amd64';
  const { linux, kernelPackage } = architectureOf(other);

  it('is made of lists of its own, with an image and a store beside the own one', async () => {
    const own = await build();
    const foreign = await build({ arch: other });
    expect(foreign).toMatchObject({ name: `default-${other}`, manifest: { architecture: linux } });
    expect(foreign.manifest.commandLine).not.toEqual(own.manifest.commandLine);
    const calls = repository.calls();
    const update = calls.find((call) => call.endsWith(' update')) ?? '';
    expect(update).toContain(`-o APT::Architecture=${other} -o APT::Architectures=${other}`);
    const status = /Dir::State::status=(\S+)/.exec(update)?.[1] ?? '';
    expect(status.startsWith(cacheFolder)).toBe(true);
    expect(calls.filter((call) => call.includes(` ${kernelPackage}`) && !call.includes(`=${other} `))).toEqual([]);
    expect(
      readdirSync(cacheFolder)
        .filter((name) => name.startsWith('.'))
        .toSorted(),
    ).toEqual(['.packages', `.packages-${other}`]);
    expect(await findImage(cacheFolder, 'default')).toEqual(own);
    expect(await build({ arch: other })).toEqual(foreign);
    // Its own busybox does not run here: the host's is asked which commands there are.
    const initrd = readFileSync(foreign.initrd, 'latin1');
    expect(initrd).toContain('usr/bin/env');
    expect(initrd).not.toContain('bin/sh\0');
  });

  it('needs an agent that was compiled for it', () => {
    expect(defaultGuestOf(undefined)).toMatchObject({ name: 'default', arch: undefined });
    expect(defaultGuestOf(hostArchitecture().debian)).toEqual(defaultGuestOf(undefined));
    if (existsSync(foreignAgent(other)))
      expect(defaultGuestOf(other)).toMatchObject({ name: `default-${other}`, arch: other });
    else expect(() => defaultGuestOf(other)).toThrow(/^HOST_MISSING: .*npm run build/);
  });
});

describe('a build that fails', () => {
  it('says what is missing on a host without apt', async () => {
    const empty = path.join(folder, 'empty');
    mkdirSync(empty);
    vi.stubEnv('PATH', empty);
    await expect(build()).rejects.toMatchObject({
      code: 'HOST_MISSING',
      message: expect.stringContaining('apt-cache'),
    });
    await expect(build()).rejects.toHaveProperty('advice', expect.stringContaining('Debian'));
    expect(left()).toEqual([]);
  });

  it('says so when there is no agent', async () => {
    await expect(build({ agentPath: path.join(folder, 'none') })).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' });
    await expect(build({ agentPath: folder })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });

  it('repeats what apt says when a download fails', async () => {
    rmSync(path.join(repository.folder, 'busybox-static.deb'));
    await expect(build()).rejects.toMatchObject({
      code: 'IMAGE_BUILD_FAILED',
      message: expect.stringContaining('404  Not Found'),
    });
    expect(left()).toEqual([]);
  });

  it('refuses a package that is not what the lists say', async () => {
    appendFileSync(path.join(repository.folder, 'busybox-static.deb'), 'x');
    await expect(build()).rejects.toMatchObject({
      code: 'IMAGE_BUILD_FAILED',
      message: expect.stringContaining('SHA-256'),
    });
    expect(left()).toEqual([]);
  });

  it('repeats what dpkg-deb says', async () => {
    repository.setTool('dpkg-deb', 'echo "dpkg-deb: error: no space" >&2; exit 2');
    await expect(build()).rejects.toMatchObject({
      code: 'IMAGE_BUILD_FAILED',
      message: expect.stringContaining('no space'),
    });
    expect(left()).toEqual([]);
  });

  it('names the packages that the sources lack', async () => {
    rmSync(path.join(repository.folder, `${hostArchitecture().kernelPackage}.stanza`));
    await expect(build()).rejects.toMatchObject({
      code: 'IMAGE_BUILD_FAILED',
      message: expect.stringContaining(hostArchitecture().kernelPackage),
    });
  });

  it('ends its tools and leaves nothing when it is aborted', async () => {
    repository.setTool('dpkg-deb', 'exec sleep 1000');
    const controller = new AbortController();
    const failed = build({
      signal: controller.signal,
      onEvent: ({ phase }) => phase === 'unpack' && controller.abort(),
    });
    await expect(failed).rejects.toMatchObject({ code: 'ABORTED' });
    expect(left()).toEqual([]);
    await expect(build({ signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' });
    expect(left()).toEqual([]);
  });

  it('ends a tool in its midst when it is aborted', async () => {
    repository.setTool('apt-get', 'echo "dlstatus:1:10.0:x"; exec sleep 1000');
    const controller = new AbortController();
    const failed = build({ signal: controller.signal, onEvent: ({ done = 0 }) => done > 0 && controller.abort() });
    await expect(failed).rejects.toMatchObject({ code: 'ABORTED' });
    expect(left()).toEqual([]);
  });

  it('says so when the cache cannot be written', async () => {
    writeFileSync(cacheFolder, '');
    await expect(build()).rejects.toMatchObject({ code: 'IO' });
  });
});
