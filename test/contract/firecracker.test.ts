import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { firecracker } from '../../src/hypervisors/firecracker/index.ts';
import { fakeFirecracker, isDescribed } from '../fakes/firecracker/program.ts';
import { describeHypervisor } from './hypervisor.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-fake-'));
  for (const version of ['1.15.0', '1.17.0'])
    writeFileSync(path.join(folder, `firecracker-${version}`), fakeFirecracker({ version }), { mode: 0o755 });
  writeFileSync(path.join(folder, 'kernel'), '\x7fELF, as far as anyone looks');
  writeFileSync(path.join(folder, 'initrd'), 'an initrd');
});
afterAll(() => rmSync(folder, { recursive: true }));

if (!isDescribed)
  process.stdout.write(
    "skipped: requests against Firecracker's own description, which is not there (POLYVISOR_SPECS)\n",
  );

const guest = (version: string): VmConfigInput => ({
  hypervisorPath: path.join(folder, `firecracker-${version}`),
  kernel: path.join(folder, 'kernel'),
  initrd: path.join(folder, 'initrd'),
  vcpus: 2,
  memoryMiB: 256,
  virtioMem: true,
});

describeHypervisor(firecracker, { accel: 'kvm', variant: 'that is played', config: async () => guest('1.17.0') });
describeHypervisor(firecracker, { accel: 'kvm', variant: '1.15 that is played', config: async () => guest('1.15.0') });
