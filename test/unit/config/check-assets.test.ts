import { createHash } from 'node:crypto';
import { chmod, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { verifyAssetHashes } from '../../../src/config/asset-hash.ts';
import { checkAssets } from '../../../src/config/check-assets.ts';
import type { HypervisorConfig, VmConfigInput } from '../../../src/config/vm-config.ts';
import { complete, failing, rejection } from './fixture.ts';

let folder: string;
let file: string;
let program: string;
let empty: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'polyvisor-assets-'));
  file = join(folder, 'file');
  program = join(folder, 'program');
  empty = join(folder, 'empty');
  await writeFile(file, 'content');
  await writeFile(program, '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(empty, '');
});
afterEach(() => rm(folder, { recursive: true }));

const config = (input: VmConfigInput): HypervisorConfig => complete({ kernel: file, initrd: file, ...input });
const check = (input: VmConfigInput): Promise<void> => checkAssets(config(input));

/** Root may read everything: become nobody for a moment. */
async function asOrdinaryUser<T>(call: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return call();
  process.seteuid?.(65_534);
  try {
    return await call();
  } finally {
    process.seteuid?.(0);
  }
}

test('everything there', async () => {
  const all = check({
    firmware: file,
    pflash: [file, file],
    hypervisorPath: program,
    hypervisorCtlPath: program,
    jailerPath: program,
    fileBackedMemRootDir: folder,
  });
  await expect(all).resolves.toBeUndefined();
});

test('a link counts as what it leads to', async () => {
  await symlink(file, join(folder, 'link'));
  await symlink(join(folder, 'nowhere'), join(folder, 'dangling'));
  await expect(check({ kernel: join(folder, 'link') })).resolves.toBeUndefined();
  expect(await rejection(check({ kernel: join(folder, 'dangling') }))).toMatchObject(
    failing('FILE_NOT_FOUND', 'kernel'),
  );
});

describe('a file', () => {
  const fields = ['kernel', 'initrd', 'firmware'] as const;

  test.each(fields)('%s: missing', async (field) => {
    const path = join(folder, 'none');
    const error = await rejection(check({ [field]: path }));
    expect(error).toMatchObject(failing('FILE_NOT_FOUND', field));
    expect(error.facts.path).toBe(path);
    expect(error.message).toContain(field);
    expect(error.message).toContain(path);
  });

  test.each(fields)('%s: empty', async (field) => {
    const error = await rejection(check({ [field]: empty }));
    expect(error).toMatchObject(failing('FILE_INVALID', field));
    expect(error.message).toContain('is empty');
  });

  test.each(fields)('%s: a folder', async (field) => {
    const error = await rejection(check({ [field]: folder }));
    expect(error).toMatchObject(failing('FILE_INVALID', field));
    expect(error.message).toContain('is a folder');
  });

  test('a device', async () => {
    expect(await rejection(check({ kernel: '/dev/null' }))).toMatchObject(failing('FILE_INVALID', 'kernel'));
  });

  test('below a file', async () => {
    expect(await rejection(check({ kernel: join(file, 'x') }))).toMatchObject(failing('FILE_NOT_FOUND', 'kernel'));
  });

  test('unreadable', async () => {
    const secret = join(folder, 'secret');
    await writeFile(secret, 'x', { mode: 0 });
    const error = await asOrdinaryUser(() => rejection(check({ kernel: secret })));
    expect(error).toMatchObject(failing('FILE_UNREADABLE', 'kernel'));
    expect(error.message).toContain('no permission to read');
  });

  test('a loop of links', async () => {
    await symlink('loop', join(folder, 'loop'));
    expect(await rejection(check({ kernel: join(folder, 'loop') }))).toMatchObject(failing('FILE_INVALID', 'kernel'));
  });

  test('one of the flash images', async () => {
    expect(await rejection(check({ pflash: [file, join(folder, 'none')] }))).toMatchObject(
      failing('FILE_NOT_FOUND', 'pflash[1]'),
    );
  });

  test('an image', async () => {
    expect(await rejection(check({ initrd: undefined, image: empty }))).toMatchObject(failing('FILE_INVALID', 'image'));
  });

  test('a custom asset is what is looked at', async () => {
    const kernel = { path: join(folder, 'none') };
    expect(await rejection(check({ customAssets: { kernel } }))).toMatchObject(
      failing('FILE_NOT_FOUND', 'customAssets.kernel'),
    );
    await expect(
      check({ kernel: join(folder, 'none'), customAssets: { kernel: { path: file } } }),
    ).resolves.toBeUndefined();
  });

  test('a relative path', async () => {
    expect(await rejection(checkAssets({ ...config({}), kernel: 'vmlinuz' }))).toMatchObject(
      failing('INVALID_CONFIG', 'kernel'),
    );
  });
});

describe('others', () => {
  test('a program must be there and executable', async () => {
    expect(await rejection(check({ jailerPath: join(folder, 'none') }))).toMatchObject(
      failing('FILE_NOT_FOUND', 'jailerPath'),
    );
    await chmod(program, 0o644);
    const error = await rejection(check({ jailerPath: program }));
    expect(error).toMatchObject(failing('FILE_INVALID', 'jailerPath'));
    expect(error.message).toContain('not executable');
  });

  test('a VMM that is missing has a code of its own', async () => {
    const path = join(folder, 'none');
    const error = await rejection(check({ hypervisorPath: path }));
    expect(error).toMatchObject(failing('HYPERVISOR_NOT_FOUND', 'hypervisorPath'));
    expect(error.facts.path).toBe(path);
    expect(error.message.match(/HYPERVISOR_NOT_FOUND/g)).toHaveLength(1);
    expect(error.message).not.toContain('FILE_NOT_FOUND');
  });

  test('a folder must be one', async () => {
    expect(await rejection(check({ fileBackedMemRootDir: file }))).toMatchObject(
      failing('FILE_INVALID', 'fileBackedMemRootDir'),
    );
  });

  test('a source of entropy may be a device or a file', async () => {
    await expect(check({ entropySource: '/dev/random' })).resolves.toBeUndefined();
    await expect(check({ entropySource: file })).resolves.toBeUndefined();
    expect(await rejection(check({ entropySource: folder }))).toMatchObject(failing('FILE_INVALID', 'entropySource'));
    expect(await rejection(check({ entropySource: join(folder, 'none') }))).toMatchObject(
      failing('FILE_NOT_FOUND', 'entropySource'),
    );
  });

  test("a template's files are read from, but made when it is created", async () => {
    const paths = { memoryPath: join(folder, 'memory'), devicesStatePath: join(folder, 'state') };
    await expect(check({ ...paths, bootToBeTemplate: true })).resolves.toBeUndefined();
    expect(await rejection(check({ ...paths, bootFromTemplate: true }))).toMatchObject(
      failing('FILE_NOT_FOUND', 'memoryPath'),
    );
    await writeFile(paths.memoryPath, 'x');
    expect(await rejection(check({ ...paths, bootFromTemplate: true }))).toMatchObject(
      failing('FILE_NOT_FOUND', 'devicesStatePath'),
    );
  });
});

test('an initrd must fit into the memory', async () => {
  const initrd = join(folder, 'initrd');
  await writeFile(initrd, 'x');
  await truncate(initrd, 64 * 1024 * 1024);
  const error = await rejection(check({ initrd, memoryMiB: 64 }));
  expect(error).toMatchObject(failing('INVALID_CONFIG', 'initrd'));
  expect(error.message).toContain('64 MiB');
  await expect(check({ initrd, memoryMiB: 65 })).resolves.toBeUndefined();
});

const sha512 = createHash('sha512').update('content').digest('hex');
const hashOf = (path: string, signal?: AbortSignal): Promise<void> =>
  verifyAssetHashes({ customAssets: { kernel: { path, sha512 } } }, signal);

describe('hashes', () => {
  test('a right one, in either case, and none at all', async () => {
    await expect(
      verifyAssetHashes({ customAssets: { kernel: { path: file, sha512: sha512.toUpperCase() } } }),
    ).resolves.toBeUndefined();
    await expect(verifyAssetHashes({ customAssets: { kernel: { path: file } } })).resolves.toBeUndefined();
    await expect(verifyAssetHashes({})).resolves.toBeUndefined();
  });

  test('checkAssets looks at them too', async () => {
    const kernel = { path: file, sha512: '0'.repeat(128) };
    expect(await rejection(check({ customAssets: { kernel } }))).toMatchObject(
      failing('FILE_INVALID', 'customAssets.kernel'),
    );
    const good = check({ customAssets: { kernel: { path: file, sha512 } } });
    await expect(good).resolves.toBeUndefined();
  });

  test('a wrong one', async () => {
    const asset = { path: file, sha512: '0'.repeat(128) };
    const wrong = verifyAssetHashes({ customAssets: { initrd: asset } });
    const error = await rejection(wrong);
    expect(error).toMatchObject(failing('FILE_INVALID', 'customAssets.initrd'));
    expect(error.facts.path).toBe(file);
  });

  test('a file that is not there, a folder, an aborted call', async () => {
    expect(await rejection(hashOf(join(folder, 'none')))).toMatchObject(
      failing('FILE_NOT_FOUND', 'customAssets.kernel'),
    );
    expect(await rejection(hashOf(folder))).toMatchObject(failing('FILE_INVALID', 'customAssets.kernel'));
    expect(await rejection(hashOf('/dev/zero', AbortSignal.timeout(50)))).toMatchObject(failing('ABORTED'));
  });
});
