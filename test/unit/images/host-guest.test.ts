import { execFileSync } from 'node:child_process';
import {
  chmodSync,
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
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { buildHostGuest, findHostKernel, type HostGuestOptions } from '../../../src/images/host-guest.ts';
import type { GuestImage } from '../../../src/images/image.ts';
import { codeOf, failure } from '../../fakes/failure.ts';
import { elfFile, moduleFile } from './elf-fixture.ts';
import { bzImage } from './image-fixture.ts';

const release = '6.18.0-1-generic';
const elf = elfFile({ '.text': Buffer.alloc(3000, 0x90) });

let folder: string;
let root: string;
let agentPath: string;
const cacheFolder = (): string => path.join(folder, 'cache');

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'host-'));
  root = path.join(folder, 'root');
  agentPath = path.join(folder, 'agent');
  writeFileSync(agentPath, 'the agent');
  const drivers = path.join(root, 'lib/modules', release, 'kernel/drivers');
  mkdirSync(drivers, { recursive: true });
  mkdirSync(path.join(root, 'boot'));
  writeFileSync(path.join(root, 'boot', `vmlinuz-${release}`), bzImage(elf));
  writeFileSync(path.join(drivers, 'virtio.ko'), moduleFile(['depends=']));
  writeFileSync(path.join(drivers, 'virtio_blk.ko.gz'), gzipSync(moduleFile(['depends=virtio'])));
  for (const [name, program, needs] of [
    ['virtio_pci', 'xz', 'virtio'],
    ['virtio_console', 'zstd', 'virtio'],
  ] as const) {
    const file = path.join(drivers, `${name}.ko`);
    writeFileSync(file, moduleFile([`depends=${needs}`]));
    execFileSync(program, program === 'zstd' ? ['-q', '--rm', file] : [file]);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

async function build(options: Partial<HostGuestOptions> = {}): Promise<GuestImage> {
  return buildHostGuest({
    cacheFolder: cacheFolder(),
    agentPath,
    kernel: await findHostKernel(root, release),
    ...options,
  });
}

it("makes a guest of a host's kernel and its modules, however they are packed", async () => {
  const before = readdirSync(root, { recursive: true });
  const image = await build();
  expect(image.manifest).toMatchObject({
    name: 'host',
    kernelRelease: release,
    kernelFormat: 'elf',
    bootModules: ['virtio', 'virtio_pci', 'virtio_console'],
    otherModules: ['virtio_blk'],
    packages: [],
  });
  expect(readFileSync(image.kernel)).toEqual(elf);
  const initrd = readFileSync(image.initrd, 'latin1');
  expect(initrd).toContain(`/lib/modules/${release}/kernel/drivers/virtio_console.ko\n`);
  expect(initrd).not.toContain('.ko.');
  // Nothing was unpacked in the host's own folders.
  expect(readdirSync(root, { recursive: true })).toEqual(before);
  expect(readdirSync(cacheFolder())).toEqual([path.basename(image.folder)]);
});

it('makes it anew when the kernel or the agent is another one', async () => {
  const first = await build();
  expect((await build()).folder).toBe(first.folder);
  writeFileSync(agentPath, 'another agent');
  const second = await build();
  expect(second.folder).not.toBe(first.folder);
  writeFileSync(path.join(root, 'boot', `vmlinuz-${release}`), bzImage(elfFile({ '.text': Buffer.alloc(3001, 0x90) })));
  expect((await build()).folder).not.toBe(second.folder);
});

it.each(['zstd', 'xz'])('unpacks a kernel that is packed by %s', async (program) => {
  const plain = path.join(folder, 'plain');
  writeFileSync(plain, elf);
  const packed = execFileSync(program, ['-c', plain]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(elf.length);
  const image = path.join(root, 'boot', `vmlinuz-${release}`);
  writeFileSync(image, bzImage(elf, { payload: Buffer.concat([packed, size]) }));
  const made = await build();
  expect(made.manifest.kernelFormat).toBe('elf');
  expect(readFileSync(made.kernel)).toEqual(elf);
  writeFileSync(image, bzImage(elf, { payload: Buffer.concat([packed.subarray(0, packed.length / 2), size]) }));
  expect(await codeOf(build())).toBe('IMAGE_BUILD_FAILED');
  expect(readdirSync(cacheFolder())).toEqual([path.basename(made.folder)]);
});

it("boots a kernel as it is when it isn't a bzImage", async () => {
  writeFileSync(path.join(root, 'boot', `vmlinuz-${release}`), 'a kernel of another kind');
  expect((await build()).manifest.kernelFormat).toBe('image');
});

it('finds the kernel where distributions put it', async () => {
  const modules = path.join(root, 'lib/modules', release);
  expect(await findHostKernel(root, release)).toEqual({
    release,
    image: path.join(root, 'boot', `vmlinuz-${release}`),
    modules,
  });
  rmSync(path.join(root, 'boot'), { recursive: true });
  expect(await codeOf(findHostKernel(root, release))).toBe('HOST_MISSING');
  writeFileSync(path.join(modules, 'vmlinuz'), 'x');
  expect((await findHostKernel(root, release)).image).toBe(path.join(modules, 'vmlinuz'));
  expect(await codeOf(findHostKernel(root, '0.0'))).toBe('HOST_MISSING');
});

it('says what the host lacks, and leaves nothing', async () => {
  const kernel = await findHostKernel(root, release);
  vi.stubEnv('PATH', '/nowhere');
  expect(await failure(build({ kernel }))).toMatchObject({
    code: 'HOST_MISSING',
    advice: expect.stringMatching(/busybox/) as string,
  });
  const tools = path.join(folder, 'tools');
  mkdirSync(tools);
  // One that needs libraries does not do.
  symlinkSync(process.execPath, path.join(tools, 'busybox'));
  vi.stubEnv('PATH', tools);
  expect((await failure(build({ kernel }))).message).toMatch(/no static busybox/);
  vi.unstubAllEnvs();
  expect(await codeOf(build({ kernel: { ...kernel, image: '/nowhere' } }))).toBe('FILE_UNREADABLE');
  writeFileSync(kernel.image, bzImage(elf).subarray(0, 2000));
  expect(await codeOf(build({ kernel }))).toBe('FILE_INVALID');
  writeFileSync(kernel.image, bzImage(elf));
  const bad = path.join(kernel.modules, 'kernel/drivers/virtio_pci.ko.xz');
  chmodSync(bad, 0o644);
  writeFileSync(bad, 'damaged');
  expect(await codeOf(build({ kernel }))).toBe('IMAGE_BUILD_FAILED');
  expect(await codeOf(build({ kernel, signal: AbortSignal.abort() }))).toBe('ABORTED');
  expect(readdirSync(cacheFolder())).toEqual([]);
});
