import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { elfKernelFile, pruneKernelFiles } from '../../../src/images/kernel-elf.ts';
import { pruneKernels } from '../../../src/sandbox/images.ts';
import { planVm } from '../../../src/sandbox/plan.ts';
import { places } from '../../../src/state/paths.ts';
import { codeOf } from '../../fakes/failure.ts';
import { elfFile } from './elf-fixture.ts';
import { bzImage } from './image-fixture.ts';

const kernel = elfFile({ '.text': Buffer.alloc(3000, 0x90) });
let work: string;
let store: string;

beforeEach(() => {
  work = mkdtempSync(path.join(tmpdir(), 'kernel-elf-'));
  store = path.join(work, 'store');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(work, { recursive: true });
});

function file(name: string, content: Buffer): string {
  const at = path.join(work, name);
  writeFileSync(at, content);
  return at;
}

/** With its length behind it, as Linux packs it; gzip has that in its own end. */
function packedBy(program: string): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(kernel.length);
  const packed = execFileSync(program, ['-c'], { input: kernel });
  return bzImage(kernel, { payload: program === 'gzip' ? packed : Buffer.concat([packed, size]) });
}

it('is what is in a bzImage, whatever that is packed by, and kept once', async () => {
  const images = [bzImage(kernel), packedBy('gzip'), packedBy('xz'), packedBy('zstd')];
  for (const [at, image] of images.entries()) {
    const made = await elfKernelFile(file(`image-${at}`, image), store, {});
    expect(readFileSync(made).equals(kernel)).toBe(true);
    expect(statSync(made).mode & 0o777).toBe(0o644);
    expect(await elfKernelFile(file('the-same', image), store, {})).toBe(made);
  }
  expect(readdirSync(store)).toHaveLength(images.length);
  const [first] = readdirSync(store);
  await pruneKernelFiles(store, new Set([path.join(store, first ?? '')]));
  expect(readdirSync(store)).toEqual([first]);
});

it('leaves any other file as it is, and tells what is damaged or missing', async () => {
  for (const content of [kernel, Buffer.from('x'), bzImage(kernel, { payload: Buffer.from('BZh9....1234') })]) {
    const other = file('other', content);
    expect(await elfKernelFile(other, store, {})).toBe(other);
  }
  expect(await codeOf(elfKernelFile(file('cut', bzImage(kernel).subarray(0, 2000)), store, {}))).toBe('FILE_INVALID');
  expect(await codeOf(elfKernelFile(file('cut', packedBy('xz').subarray(0, -60)), store, {}))).toBe('FILE_INVALID');
  expect(await codeOf(elfKernelFile(file('cut', packedBy('gzip').subarray(0, -60)), store, {}))).toBe('FILE_INVALID');
  expect(await codeOf(elfKernelFile(path.join(work, 'none'), store, {}))).toBe('FILE_NOT_FOUND');
  vi.stubEnv('PATH', '/nonexistent');
  expect(await codeOf(elfKernelFile(file('packed', packedBy('/usr/bin/xz')), store, {}))).toBe('HOST_MISSING');
  expect(readdirSync(store)).toEqual([]);
  await pruneKernelFiles(path.join(work, 'nowhere'), new Set());
});

it('is what Firecracker is given, and goes with the images', async () => {
  mkdirSync(store);
  const told: string[] = [];
  const options = { kernel: file('vmlinuz', bzImage(kernel)), initrd: file('initrd', kernel), onEvent: note };
  function note(event: { type: string; message?: string }): void {
    if (event.type === 'phase' && event.message !== undefined) told.push(event.message);
  }
  // What comes then depends on whether this host has KVM, and a Firecracker.
  await planVm({ hypervisor: 'firecracker', ...options }).catch(() => undefined);
  expect(told).toContain(`${options.kernel} is booted as the ELF kernel that is in it`);
  expect(readdirSync(places().kernels)).toHaveLength(1);
  await pruneKernels();
  expect(readdirSync(places().kernels)).toEqual([]);
  rmSync(places().kernels, { recursive: true });
  // QEMU takes it as it is.
  await planVm({ hypervisor: 'qemu', ...options }).catch(() => undefined);
  expect(told).toHaveLength(1);
});
