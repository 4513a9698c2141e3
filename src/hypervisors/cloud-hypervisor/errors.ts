import { VmError } from '../../errors.ts';
import type { VmmExit } from '../hypervisor.ts';

/** Start-up messages of Cloud Hypervisor that have a better answer than themselves. */
const advice: readonly [pattern: RegExp, advice: string][] = [
  [
    /\/dev\/kvm.*(denied|EACCES|os error 13)|Error creating KVM object.*13/i,
    'Give this user access to /dev/kvm (group `kvm`).',
  ],
  [
    /\/dev\/kvm|KVM object/i,
    'Cloud Hypervisor needs KVM: `polyvisor doctor` says what this host has; use the hypervisor `qemu` without it.',
  ],
  [/KernelLoad|LoadKernel|UefiLoad|Elf/i, 'Name an ELF kernel with a PVH note (vmlinux), or a bzImage.'],
  [/Cannot allocate memory|guest memory/i, 'Ask for less memory, or free some on the host.'],
];

/** What to do about words of Cloud Hypervisor. */
export function adviceFor(words: string): string | undefined {
  return advice.find(([pattern]) => pattern.test(words))?.[1];
}

/** Cloud Hypervisor ended before it answered: its own last words, and what to do. */
export function startFailure(exit: VmmExit, log: string): VmError {
  const lastLine = log.trim().split('\n').at(-1) ?? '';
  const how = exit.signal === undefined ? `with exit code ${exit.code ?? 'unknown'}` : `by ${exit.signal}`;
  const words = lastLine === '' ? '' : `: ${lastLine}`;
  return new VmError('START_FAILED', `Cloud Hypervisor ended ${how} before it answered${words}`, {
    exitCode: exit.code,
    signal: exit.signal,
    log,
    advice: adviceFor(log),
  });
}
