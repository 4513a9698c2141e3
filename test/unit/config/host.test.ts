import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { getHostMemorySizeKb, hostArch, hostMemoryMiB, readHostFacts, runningOnVmm } from '../../../src/config/host.ts';
import { errorOf, failing, rejection } from './fixture.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'polyvisor-host-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function file(text: string): Promise<string> {
  const path = join(folder, 'file');
  await writeFile(path, text);
  return path;
}

describe('getHostMemorySizeKb', () => {
  test.each([
    ['MemTotal: 1234 kB\n', 1234],
    ['MemFree: 1 kB\nMemTotal:        65838624 kB\nMemTotal: 2 kB', 65_838_624],
    ['MemTotal: lots kB\nMemTotal: 5 MB\nMemTotal: 6\nMemTotal: 7 kB', 7],
    ['MemTotal: -1 kB\nMemTotal: 8 kB', 8],
  ])('%j has %d kB', async (text, kb) => {
    expect(await getHostMemorySizeKb(await file(text))).toBe(kb);
  });

  test.each(['', 'MemTotal: 12\n', 'MemTotal : 12 kB', 'xMemTotal: 1 kB'])('%j has no MemTotal', async (text) => {
    const path = await file(text);
    const error = await rejection(getHostMemorySizeKb(path));
    expect(error).toMatchObject(failing('FILE_INVALID'));
    expect(error.message).toContain(`MemTotal from ${path}`);
  });

  test('a missing file, a folder, an endless file', async () => {
    expect(await rejection(getHostMemorySizeKb(join(folder, 'none')))).toMatchObject(failing('FILE_NOT_FOUND'));
    expect(await rejection(getHostMemorySizeKb(folder))).toMatchObject(failing('FILE_UNREADABLE'));
    expect(await rejection(getHostMemorySizeKb('/dev/zero'))).toMatchObject(failing('FILE_INVALID'));
  });

  test('MiB are rounded down', async () => {
    expect(await hostMemoryMiB(await file('MemTotal: 2047 kB'))).toBe(1);
  });
});

describe('runningOnVmm', () => {
  test.each([
    ['flags : fpu hypervisor sse', true],
    ['flags: hypervisor', true],
    ['flags : fpu sse\nflags : hypervisor', false],
    ['flags\nflagsx hypervisor', true],
    ['model : hypervisor\nflags : hypervisors', false],
  ])('%j: %s', async (text, answer) => {
    expect(await runningOnVmm(await file(text), 'amd64')).toBe(answer);
  });

  test.each(['arm64', 'ppc64le', 's390x'] as const)('%s has no such flag', async (arch) => {
    expect(await runningOnVmm(join(folder, 'none'), arch)).toBe(false);
  });

  test('no flags, no file', async () => {
    expect(await rejection(runningOnVmm(await file('model : x'), 'amd64'))).toMatchObject(failing('FILE_INVALID'));
    expect(await rejection(runningOnVmm(join(folder, 'none'), 'amd64'))).toMatchObject(failing('FILE_NOT_FOUND'));
  });
});

test('architectures', () => {
  expect(hostArch('x64')).toBe('amd64');
  expect(hostArch('arm64')).toBe('arm64');
  expect(errorOf(() => hostArch('riscv64')).code).toBe('UNSUPPORTED');
});

test('this host', async () => {
  const facts = await readHostFacts();
  expect(facts.cpus).toBeGreaterThan(0);
  expect(facts.memoryMiB).toBeGreaterThan(64);
  expect(facts.uid).toBe(process.geteuid?.());
});
