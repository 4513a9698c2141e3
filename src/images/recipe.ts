import type { GuestArch } from '../config/host.ts';
import { sha256 } from './file-record.ts';

/** Raised when the builder's code puts the same inputs together in another way. */
const codeVersion: number = 2;

/**
 * Modules that the agent loads before it opens its channel, in this order (with what they need in front). Each costs a millisecond or
 * more of an emulated boot (docs/performance.md), so all others wait until something asks for them.
 */
const bootModules: readonly string[] = ['virtio_pci', 'virtio_console'];

/** Drivers that no command waits for: loaded when the guest has run for a second. */
const lateModules: readonly string[] = ['virtio_rng'];

/**
 * Modules that are in the initrd for whoever asks: the agent loads a driver when its device is there or is plugged, the kernel asks for
 * a file system when it is mounted. Those that a kernel has built in (or lacks) are left out.
 */
const otherModules: readonly string[] = [
  'virtio_mmio',
  'virtio_blk',
  'virtio_scsi',
  'virtio_net',
  'virtio_balloon',
  'virtio_mem',
  'virtio_pmem',
  'nfit',
  'nd_pmem',
  'vmw_vsock_virtio_transport',
  'overlay',
  'ext4',
  'squashfs',
  'erofs',
  'virtiofs',
  '9p',
  '9pnet_virtio',
  'nvme',
  'sd_mod',
  'pciehp',
  'shpchp',
];

/**
 * Steps of the kernel's start that are left out: they fill tracefs (/sys/kernel/tracing), which takes a seventh of an emulated
 * boot. The guest has no kernel trace events; all else works without them.
 */
const skippedSteps = ['tracer_init_tracefs', 'trace_eval_init'];

/** Kernel parameters of the default guest; docs/performance.md says what each saves. */
const commandLine: readonly string[] = [
  // A guest that panics ends at once, instead of hanging.
  'panic=-1',
  // The kernel's own tests of its ciphers: more than half of all instructions of the boot.
  'cryptomgr.notests',
  'random.trust_cpu=on',
  // 4 MiB of bounce buffers for devices without 64-bit DMA, in blocks of 2 KiB, instead of 64 MiB: these are zeroed at boot.
  'swiotlb=2048',
  `initcall_blacklist=${skippedSteps.join(',')}`,
];

/** Those that one architecture has. */
const commandLineOf: Readonly<Record<GuestArch, readonly string[]>> = {
  amd64: [
    // A busy host makes the test of the timer interrupt fail for no reason.
    'no_timer_check',
    // A guest with one CPU would patch each lock out of the kernel, and back in when a second CPU is plugged.
    'noreplace-smp',
  ],
  arm64: [],
};

const folders: readonly (readonly [path: string, mode: number])[] = [
  ['bin', 0o755],
  ['dev', 0o755],
  ['etc', 0o755],
  ['etc/polyvisor', 0o755],
  ['home', 0o755],
  ['home/user', 0o755],
  ['lib', 0o755],
  ['mnt', 0o755],
  ['proc', 0o555],
  ['root', 0o700],
  ['run', 0o755],
  ['sbin', 0o755],
  ['sys', 0o555],
  ['tmp', 0o1777],
  ['usr', 0o755],
  ['usr/bin', 0o755],
  ['usr/sbin', 0o755],
  ['var', 0o755],
  ['var/tmp', 0o1777],
];

const texts: readonly (readonly [path: string, text: string])[] = [
  [
    'etc/passwd',
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  ],
  ['etc/group', 'root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n'],
  ['etc/hostname', 'polyvisor\n'],
  ['etc/hosts', '127.0.0.1 localhost polyvisor\n::1 localhost\n'],
  ['etc/os-release', 'ID=polyvisor\nNAME=polyvisor\nPRETTY_NAME="polyvisor default guest"\n'],
];

/** What the default guest holds beside its inputs. */
export const recipe: {
  codeVersion: typeof codeVersion;
  bootModules: typeof bootModules;
  lateModules: typeof lateModules;
  otherModules: typeof otherModules;
  commandLine: typeof commandLine;
  commandLineOf: typeof commandLineOf;
  folders: typeof folders;
  texts: typeof texts;
} = { codeVersion, bootModules, lateModules, otherModules, commandLine, commandLineOf, folders, texts };

/** SHA-256 of the recipe: an image of another recipe is out of date. */
export const recipeHash: string = sha256(JSON.stringify(recipe));
