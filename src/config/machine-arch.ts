import type { GuestArch } from './host.ts';

/** QEMU's names of machines; those of one kind differ in what follows. */
const machines: readonly (readonly [pattern: RegExp, arch: GuestArch])[] = [
  [/^(pc|q35|microvm)(-|$)/, 'amd64'],
  [/^virt(-|$)/, 'arm64'],
];

/** The architecture of a machine type; undefined for one that is not known here. */
export function machineArch(machineType: string | undefined): GuestArch | undefined {
  return machines.find(([pattern]) => machineType !== undefined && pattern.test(machineType))?.[1];
}
