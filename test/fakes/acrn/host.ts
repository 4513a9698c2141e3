import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import type { VmConfigInput } from '../../../src/config/vm-config.ts';
import { AcrnDriver, type AcrnHost } from '../../../src/hypervisors/acrn/driver.ts';
import type { HypervisorModule } from '../../../src/hypervisors/hypervisor.ts';
import { lock } from '../../../src/state/lock.ts';
import { type AcrnFault, acrnFaults, fakeAcrnDm } from './program.ts';

/** A host of ACRN that is a folder: its huge pages, its CPUs, its sockets, and an acrn-dm that is played. */
export interface PlayedAcrn {
  /** A file of the folder; written when there is content. */
  file(name: string, content?: string | Uint8Array): string;
  host(): AcrnHost;
  /** acrn-dm, kernel and initrd. */
  guest(fault?: AcrnFault): VmConfigInput;
  /** Says how many huge pages of 2 MiB the host has, and how many of them are free. */
  setPages(total: number, free: number): void;
  /** ACRN's driver on that host. */
  module(real: HypervisorModule): HypervisorModule;
}

/** Makes the folder before the tests of a file, and removes it after them. */
export function playedAcrn(): PlayedAcrn {
  let folder = '';
  const at = (name: string): string => path.join(folder, name);
  const counters = 'hugepages-2048kB';
  const file = (name: string, content?: string | Uint8Array): string => {
    if (content !== undefined) writeFileSync(at(name), content, { mode: 0o755 });
    return at(name);
  };
  const setPages = (total: number, free: number): void => {
    const counts = { nr_hugepages: total, free_hugepages: free, resv_hugepages: 0 };
    for (const [name, count] of Object.entries(counts)) file(path.join(counters, name), `${count}\n`);
  };
  const host = (): AcrnHost => ({
    hugePages: { counters: at(counters), lockFolder: at('hugepage') },
    cpus: { cpuinfo: at('cpuinfo'), madt: at('madt'), proc: at('proc') },
    sockets: at('mngr'),
  });
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-acrn-'));
    for (const name of [counters, 'hugepage', 'proc', 'mngr']) mkdirSync(at(name));
    // LAPIC ids are not the numbers of CPUs.
    file('cpuinfo', [0, 2, 4, 6].map((id, cpu) => `processor\t: ${cpu}\napicid\t\t: ${id}\n`).join('\n'));
    file('kernel', `${'\0'.repeat(0x202)}HdrS`);
    file('initrd', 'an initrd');
    file('vmlinux', '\x7fELF');
    file('acrn-dm', fakeAcrnDm(at('mngr')));
    for (const fault of acrnFaults) file(`acrn-dm-${fault}`, fakeAcrnDm(at('mngr'), fault));
    setPages(1024, 1024);
    // The first lock leaves its token in the folder.
    await (await lock(at('hugepage'), 'huge-pages')).release();
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  return {
    file,
    host,
    setPages,
    guest: (fault) => ({
      hypervisorPath: at(fault === undefined ? 'acrn-dm' : `acrn-dm-${fault}`),
      kernel: at('kernel'),
      initrd: at('initrd'),
    }),
    module: (real) => ({ ...real, driver: (context) => new AcrnDriver(context, host()) }),
  };
}
