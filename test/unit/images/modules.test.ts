import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { elfSections } from '../../../src/images/elf.ts';
import { lightModule } from '../../../src/images/module-file.ts';
import { resolveModules } from '../../../src/images/modules.ts';
import { moduleFile, signature } from './elf-fixture.ts';

let folder: string;
const refuse = (file: string): Promise<Buffer> => Promise.reject(new Error(`not compressed: ${file}`));

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'modules-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function put(file: string, info: readonly string[]): void {
  mkdirSync(path.dirname(path.join(folder, 'kernel', file)), { recursive: true });
  writeFileSync(path.join(folder, 'kernel', file), moduleFile(info));
}

describe('resolveModules', () => {
  it('puts each module behind what it needs, once', async () => {
    put('a/ring.ko', ['depends=']);
    put('a/virtio-bus.ko', ['depends=ring', 'alias=bus:*']);
    put('b/console.ko', ['depends=virtio-bus,ring']);
    put('b/block.ko', ['depends=virtio_bus']);
    const modules = await resolveModules(folder, ['console', 'block'], refuse);
    expect(modules.map(({ name }) => name)).toEqual(['ring', 'virtio_bus', 'console', 'block']);
    expect(modules[1]).toMatchObject({ path: 'kernel/a/virtio-bus.ko', needs: ['ring'], aliases: ['bus:*'] });
  });

  it('counts what should be loaded before as needed, and not what should be after', async () => {
    put('crc.ko', ['depends=']);
    put('late.ko', ['depends=']);
    put('fs.ko', ['depends=', 'softdep=pre: crc builtin post: late']);
    const modules = await resolveModules(folder, ['fs'], refuse);
    expect(modules.map(({ name, needs }) => [name, needs])).toEqual([
      ['crc', []],
      ['fs', ['crc']],
    ]);
  });

  it('leaves out what the kernel has built in', async () => {
    put('one.ko', ['depends=builtin']);
    expect((await resolveModules(folder, ['absent', 'one'], refuse)).map(({ name }) => name)).toEqual(['one']);
  });

  it('unpacks compressed modules', async () => {
    put('one.ko.xz', []);
    const modules = await resolveModules(folder, ['one'], () => Promise.resolve(moduleFile(['depends='])));
    expect(modules[0]).toMatchObject({ name: 'one', path: 'kernel/one.ko' });
  });

  it('refuses modules that need each other, and files that are no modules', async () => {
    put('a.ko', ['depends=b']);
    put('b.ko', ['depends=a']);
    await expect(resolveModules(folder, ['a'], refuse)).rejects.toMatchObject({ code: 'FILE_INVALID' });
    writeFileSync(path.join(folder, 'kernel', 'c.ko'), 'text');
    await expect(resolveModules(folder, ['c'], refuse)).rejects.toMatchObject({ code: 'FILE_INVALID' });
  });
});

describe('lightModule', () => {
  it('drops the signature and hides the type data', () => {
    const plain = moduleFile(['depends='], { '.BTF': Buffer.from('types'), '.BTF_ids': Buffer.from('ids') });
    const light = lightModule(Buffer.concat([plain, signature(300)]));
    expect(light).toHaveLength(plain.length);
    expect(elfSections(light).map(({ name }) => name)).toEqual(['', '.modinfo', '.btf', '.BTF_ids', '.shstrtab']);
  });

  it('leaves a module without either as it is', () => {
    expect(lightModule(moduleFile(['depends=']))).toEqual(moduleFile(['depends=']));
  });

  it('refuses a signature longer than the module', () => {
    const huge = signature(4);
    huge.writeUInt32BE(1 << 30, 4 + 8);
    expect(() => lightModule(Buffer.concat([moduleFile([]), huge]))).toThrow('FILE_INVALID');
  });
});
