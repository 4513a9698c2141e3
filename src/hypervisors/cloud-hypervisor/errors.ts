import { VmError } from '../../errors.ts';
import type { VmmExit } from '../hypervisor.ts';

/** Start-up messages of Cloud Hypervisor that have a better answer than themselves. */
const advice: readonly [pattern: RegExp, advice: string][] = [
  [
    /\/dev\/kvm.*(denied|EACCES|os error 13)|Error creating KVM object.*13|HypervisorCreate.*(denied|13)/i,
    'Give this user access to /dev/kvm (group `kvm`).',
  ],
  [
    /\/dev\/kvm|KVM object|HypervisorCreate|HypervisorNotAvailable|hypervisor is not available/i,
    'Cloud Hypervisor needs KVM: `polyvisor doctor` says what this host has; use the hypervisor `qemu` without it.',
  ],
  [
    /landlock/i,
    'Landlock as Cloud Hypervisor uses it needs Linux 6.2 or newer, with `landlock` among its security modules; or leave `landlock` out.',
  ],
  [
    /VFIO MMIO region|iommu table/i,
    "The host's IOMMU does not take the addresses of this guest: it may reach less than the processor does, or the VMM may lock too little memory (`ulimit -l`).",
  ],
  [
    /load.*kernel|kernel.*load|KernelLoad|UefiLoad|Elf|bzImage|invalid.*magic/i,
    'Name an ELF kernel with a PVH note (vmlinux), or a bzImage.',
  ],
  [/hugepage|hugetlb|MFD_HUGETLB/i, 'Reserve huge pages on the host: `sysctl vm.nr_hugepages`.'],
  [/Cannot allocate memory|guest memory|os error 12/i, 'Ask for less memory, or free some on the host.'],
  [
    /lock.*disk|disk.*lock|image.*locked/i,
    'Another VM has this disk: detach it there, or attach it read-only to both.',
  ],
  [
    /tap|os error 16|Resource busy/i,
    'Make the tap device first (`ip tuntap add NAME mode tap`), in the network namespace of the VM, bring it up (`ip link set NAME up`), which a confined VMM may not, and use it for one VM at a time.',
  ],
  [/SUN_LEN|path must be shorter/i, 'Choose a shorter runtime folder: XDG_RUNTIME_DIR or POLYVISOR_HOME.'],
  [/cpuid|cpu feature compat/i, 'Restore it on a host whose processor has all that the first one had.'],
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
