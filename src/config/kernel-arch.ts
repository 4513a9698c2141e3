import { headOf } from './file-head.ts';
import type { GuestArch } from './host.ts';

/** Bytes of a kernel's file in which it says what it is for. */
const headBytes = 4096;

/** `e_machine` of an ELF file (elf(5)). */
const elfMachines: ReadonlyMap<number, GuestArch> = new Map([
  [62, 'amd64'],
  [183, 'arm64'],
]);
/** `Machine` of a PE file, which a kernel with an EFI stub is as well (PE format, "Machine Types"). */
const peMachines: ReadonlyMap<number, GuestArch> = new Map([
  [0x8664, 'amd64'],
  [0xaa64, 'arm64'],
]);

/**
 * The architecture that a kernel is for, as its file tells.
 * @returns undefined for a file that doesn't tell, or can't be read: whoever boots it will say more
 */
export function kernelArch(path: string): GuestArch | undefined {
  const head = headOf(path, headBytes);
  if (head === undefined || head.length < 0x240) return undefined;
  // 64-bit, little-endian.
  if (head.readUInt32BE(0) === 0x7f45_4c46)
    return head.readUInt16BE(4) === 0x0201 ? elfMachines.get(head.readUInt16LE(18)) : undefined;
  // Linux' Documentation/arch/arm64/booting.rst and Documentation/arch/x86/boot.rst.
  if (head.toString('latin1', 0x38, 0x3c) === 'ARM\x64') return 'arm64';
  if (head.toString('latin1', 0x202, 0x206) === 'HdrS') return 'amd64';
  return head.toString('latin1', 0, 2) === 'MZ' ? peArch(head) : undefined;
}

function peArch(head: Buffer): GuestArch | undefined {
  const at = head.readUInt32LE(0x3c);
  if (at + 6 > head.length || head.toString('latin1', at, at + 4) !== 'PE\0\0') return undefined;
  return peMachines.get(head.readUInt16LE(at + 4));
}
