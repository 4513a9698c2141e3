import { VmError } from '../../errors.ts';
import type { VmmExit } from '../hypervisor.ts';

/** Start-up messages of QEMU that have a better answer than themselves. */
const advice: readonly [pattern: RegExp, advice: string][] = [
  [
    /Could not access KVM kernel module|failed to initialize kvm/i,
    'Use `--accel tcg`, or give this user access to /dev/kvm.',
  ],
  // With kvm_pvm, or inside another VM, KVM opens and then lacks what QEMU takes for granted.
  [
    /kvm\/kvm\.c|failed to set MSR|kvm run failed|KVM: entry failed/i,
    'KVM does not run guests on this host: use `--accel tcg` (`accel: tcg`).',
  ],
  [/cannot set up guest memory|Cannot allocate memory/i, 'Ask for less memory, or free some on the host.'],
  [
    /could not load (kernel|PVH|initrd)|invalid kernel header|not a .*kernel/i,
    'Name a kernel that QEMU can boot: a bzImage, or an ELF image with a PVH note.',
  ],
  [/unsupported machine type/i, 'This QEMU lacks that machine type; its `-machine help` lists those that it has.'],
  [
    /(invalid option|Invalid parameter|unexpected .*parameter|is not a valid device model)/i,
    'Check `hypervisorParams`, `machineAccelerators` and `cpuFeatures`.',
  ],
  [
    /unable to find CPU model|Property .* not found/i,
    'This QEMU lacks that CPU model or feature; its `-cpu help` lists those that it has.',
  ],
  [/guest cid/i, 'Another VM has the context id of its vsock: start it again, or choose another.'],
  [/seccomp/i, 'This QEMU was built without its sandbox; install one that has it.'],
];

/** The time before a message (`-msg timestamp=on`). */
const stamp = /^\d{4}-\d\d-\d\dT[\d:.]+Z /;

/** QEMU ended before it answered: its own last words, and what to do. */
export function startFailure(exit: VmmExit, log: string): VmError {
  const lastLine = (log.trim().split('\n').at(-1) ?? '').replace(stamp, '');
  const how = exit.signal === undefined ? `with exit code ${exit.code ?? 'unknown'}` : `by ${exit.signal}`;
  const found = advice.find(([pattern]) => pattern.test(log));
  return new VmError('START_FAILED', `QEMU ended ${how} before it answered${lastLine === '' ? '' : `: ${lastLine}`}`, {
    exitCode: exit.code,
    signal: exit.signal,
    log,
    advice: found?.[1],
  });
}

/** Whether a QEMU that was started ended since another VM has the context id of its vsock (hw/virtio/vhost-vsock.c). */
export function isContextIdTaken(error: unknown): boolean {
  const { code, rawMessage } = VmError.from(error);
  return code === 'START_FAILED' && /unable to set guest cid: Address already in use/i.test(rawMessage);
}

/** What QEMU says when it can't plug a device, and what that means to the caller. */
const plugMeanings: readonly [pattern: RegExp, code: 'BUSY' | 'UNSUPPORTED' | 'INVALID_ARGUMENT', advice: string][] = [
  [
    /Failed to get .*lock/i,
    'BUSY',
    'Another VM or program writes to it, or reads it while this VM is to write. Detach it there, or attach it read-only in both.',
  ],
  [/guest cid/i, 'BUSY', 'Another VM has this context id: choose another, or leave `contextId` out.'],
  [
    /aio=native was specified|does not support O_DIRECT|io_uring|Unable to use (linux )?(native )?aio/i,
    'UNSUPPORTED',
    'Leave `aio` and `cache.direct` out, or put the file on a file system that has O_DIRECT.',
  ],
  [
    /vhost-user|Failed to (read msg header|connect)|vhost_/i,
    'INVALID_ARGUMENT',
    'See whether the process at the other end runs and serves this kind of device.',
  ],
];

/** QEMU refused a device. */
export function plugFailure(error: unknown, id: string): VmError {
  const found = VmError.from(error);
  if (found.code !== 'VMM_FAILED') return found;
  const [, code, advice] = plugMeanings.find(([pattern]) => pattern.test(found.rawMessage)) ?? [];
  return new VmError(code ?? 'VMM_FAILED', `${id} can't be plugged: ${found.rawMessage}`, { advice, cause: error });
}
