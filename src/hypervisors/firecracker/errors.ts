import { VmError } from '../../errors.ts';
import type { VmmExit } from '../hypervisor.ts';

/** Messages of Firecracker and its jailer that have a better answer than themselves. */
const advice: readonly [pattern: RegExp, advice: string][] = [
  [
    /\/dev\/kvm.*(denied|EACCES|os error 13)|Error creating KVM object.*13/i,
    'Give this user access to /dev/kvm (group `kvm`).',
  ],
  [
    /\/dev\/kvm|KVM object/i,
    'Firecracker needs KVM: `polyvisor doctor` says what this host has; use the hypervisor `qemu` without it.',
  ],
  [
    /Kernel Loader|invalid ELF|bzImage|Elf magic/i,
    'Name an uncompressed ELF kernel (vmlinux), as `polyvisor image build` makes it; compressed ones need Firecracker 1.17.',
  ],
  [/Invalid instance ID|Invalid len \(\d+\)/i, 'The jailer takes ids of 1 to 64 letters, digits and hyphens.'],
  [/Failed to exec into Firecracker/i, 'The jailer runs static builds of Firecracker only (the ones of its releases).'],
  [/Failed to open .*netns|NetNs/i, 'Make the network namespace first: `ip netns add NAME`.'],
  [/cgroup/i, 'See which cgroup controllers this host offers: /sys/fs/cgroup.'],
  [
    /Open tap device failed|TapOpen|Resource busy|os error 16/i,
    'Make the tap device first (`ip tuntap add NAME mode tap`), in the network namespace of the VM, and use it for one VM at a time.',
  ],
  [/path must be shorter than SUN_LEN|SUN_LEN/i, 'Choose a shorter runtime folder: XDG_RUNTIME_DIR or POLYVISOR_HOME.'],
  [/Cannot allocate memory|guest memory/i, 'Ask for less memory, or free some on the host.'],
];

/** What to do about words of Firecracker. */
export function adviceFor(words: string): string | undefined {
  return advice.find(([pattern]) => pattern.test(words))?.[1];
}

/**
 * Exit codes of Firecracker's own (FcExitCode in its sources). All are above 128, where a shell's convention reads them as signals;
 * the signals with these numbers less 128 end no Firecracker.
 */
const exitReasons: ReadonlyMap<number, string> = new Map([
  [148, 'bad system call: its seccomp filter refused one'],
  [149, 'bus error'],
  [150, 'segmentation fault'],
  [151, 'a file grew beyond its limit'],
  [152, 'bad configuration'],
  [153, 'bad arguments'],
  [154, 'out of processor time'],
  [155, 'broken pipe'],
  [156, 'hang-up'],
  [157, 'illegal instruction'],
]);

/** Signals by number where Firecracker's exit codes are read as such (Linux on x86 and arm64). */
const misread: ReadonlyMap<string, number> = new Map(
  ['SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGURG', 'SIGXCPU', 'SIGXFSZ', 'SIGVTALRM', 'SIGPROF', 'SIGWINCH', 'SIGIO'].map(
    (signal, at) => [signal, 148 + at],
  ),
);

/** An exit as Firecracker means it. */
export function namedExit(exit: VmmExit): VmmExit {
  const { signal, ...rest } = exit;
  const code = signal === undefined ? exit.code : misread.get(signal === 'SIGPOLL' ? 'SIGIO' : signal);
  const reason = code === undefined ? undefined : exitReasons.get(code);
  return reason === undefined ? exit : { ...rest, code, reason };
}

/** Firecracker ended before it answered: its own last words, and what to do. */
export function startFailure(seen: VmmExit, log: string): VmError {
  const exit = namedExit(seen);
  const lastLine = log.trim().split('\n').at(-1) ?? '';
  const code = `with exit code ${exit.code ?? 'unknown'}${exit.reason === undefined ? '' : ` (${exit.reason})`}`;
  const how = exit.signal === undefined ? code : `by ${exit.signal}`;
  const words = lastLine === '' ? '' : `: ${lastLine}`;
  return new VmError('START_FAILED', `Firecracker ended ${how} before it answered${words}`, {
    exitCode: exit.code,
    signal: exit.signal,
    log,
    advice: adviceFor(log),
  });
}
