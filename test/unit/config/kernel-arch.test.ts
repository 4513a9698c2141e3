import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { kernelArch } from '../../../src/config/kernel-arch.ts';
import { machineArch } from '../../../src/config/machine-arch.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

function file(...pieces: readonly (readonly [offset: number, content: Buffer | string])[]): string {
  const content = Buffer.alloc(8192);
  for (const [offset, piece] of pieces) Buffer.from(piece).copy(content, offset);
  return at.write('kernel', content);
}
const short = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);
const elf = (bits: number, machine: number): string =>
  file([0, Buffer.from([0x7f, 0x45, 0x4c, 0x46, bits, 1, 1])], [18, short(machine)]);
const pe = (machine: number, place = 0x80): string =>
  file([0, 'MZ'], [0x3c, short(place)], [place, 'PE\0\0'], [place + 4, short(machine)]);

it.each([
  ['an ELF kernel for amd64', () => elf(2, 62), 'amd64'],
  ['an ELF kernel for arm64', () => elf(2, 183), 'arm64'],
  ['an ELF kernel for something else', () => elf(2, 243), undefined],
  ['a 32-bit ELF file', () => elf(1, 62), undefined],
  ['a bzImage', () => file([0x202, 'HdrS']), 'amd64'],
  ["arm64's Image", () => file([0x38, 'ARM\x64']), 'arm64'],
  ['an EFI stub for amd64', () => pe(0x8664), 'amd64'],
  ['an EFI stub for arm64', () => pe(0xaa64), 'arm64'],
  ['an EFI stub for riscv64', () => pe(0x5064), undefined],
  ['an EFI stub whose header lies behind what is read', () => pe(0xaa64, 5000), undefined],
  ['zeros', () => file(), undefined],
  ['a short file', () => at.write('kernel', 'MZ'), undefined],
  ['an empty file', () => at.write('kernel', ''), undefined],
  ['no file', () => at.file('none'), undefined],
  ['a folder', () => at.folder, undefined],
])('%s', (_, make, arch) => {
  expect(kernelArch(make())).toBe(arch);
});

it('a FIFO is not waited for', () => {
  execFileSync('mkfifo', [at.file('fifo')]);
  expect(kernelArch(at.file('fifo'))).toBeUndefined();
});

it.each([
  ['virt', 'arm64'],
  ['virt-7.2', 'arm64'],
  ['q35', 'amd64'],
  ['pc', 'amd64'],
  ['pc-q35-7.2', 'amd64'],
  ['pc-i440fx-7.2', 'amd64'],
  ['microvm', 'amd64'],
  ['virtual', undefined],
  ['pseries', undefined],
  [undefined, undefined],
])('the machine type %s is of %s', (machineType, arch) => {
  expect(machineArch(machineType)).toBe(arch);
});
