import { type ErrorCode, VmError } from '../../errors.ts';
import type { VmmExit } from '../hypervisor.ts';

/** Start-up messages of acrn-dm that have a better answer than themselves. */
const known: readonly [pattern: RegExp, code: ErrorCode, advice: string][] = [
  [
    /Could not open \/dev\/acrn_(vhm|hsm)/,
    'HOST_MISSING',
    'This must run in the Service VM of an ACRN hypervisor, where /dev/acrn_hsm is: `polyvisor doctor` says what is missing.',
  ],
  [
    /Cannot find Intel ACPI ASL compiler|Please install iasl/,
    'HOST_MISSING',
    'Install iasl 20190703 or newer (Debian: `apt install acpica-tools`).',
  ],
  [
    /Failed to parse the MADT table/,
    'HOST_MISSING',
    'acrn-dm must be able to read /sys/firmware/acpi/tables/APIC: run as root.',
  ],
  [
    /level \d pages gap|(low|high|fb|bios)mem mmap failed|init_hugetlb failed/,
    'HOST_MISSING',
    'Free memory for huge pages, or ask for less: the guest needs its memory and 16 MiB in pages of 2 MiB.',
  ],
  [
    /failed to create VM|vm_create failed/,
    'START_FAILED',
    'The hypervisor refused it: it may have as many VMs as it was built for, or these CPUs are not for guests (CONFIG_MAX_VM_NUM and the scenario).',
  ],
  [
    /failed to (run VM|create IOREQ)|ioctl\(\) returned an error/,
    'START_FAILED',
    'The hypervisor refused: see its own log (`hvlog`, or its console).',
  ],
  [
    /size not corret|Could not open backing file|Could not stat/,
    'FILE_INVALID',
    'A disk must be there, and its size a multiple of 512 bytes.',
  ],
  [/SW_LOAD ERR/, 'START_FAILED', 'Name a bzImage as kernel, and an initrd that fits into the memory.'],
];

/** The exit codes with a meaning of their own: what the program that loads the kernel returns. */
const exitReasons: ReadonlyMap<number, string> = new Map([
  [10, 'it could not read the kernel'],
  [11, 'it could not read the initrd'],
  [64, 'it did not understand its command line'],
]);

/** acrn-dm ended before its guest ran: its own last words, and what to do. */
export function startFailure(exit: VmmExit, log: string): VmError {
  const [pattern, code, advice] = known.find(([words]) => words.test(log)) ?? [
    /$^/,
    'START_FAILED' as const,
    undefined,
  ];
  const lines = log.trim().split('\n');
  // The last line is often only that it gives up.
  const told = lines.find((line) => pattern.test(line)) ?? lines.at(-1) ?? '';
  const reason = exit.code === undefined ? undefined : exitReasons.get(exit.code);
  const withCode = `with exit code ${exit.code ?? 'unknown'}${reason === undefined ? '' : ` (${reason})`}`;
  const how = exit.signal === undefined ? withCode : `by ${exit.signal}`;
  return new VmError(code, `acrn-dm ended ${how} before the guest ran${told === '' ? '' : `: ${told}`}`, {
    exitCode: exit.code,
    signal: exit.signal,
    log,
    advice,
  });
}
