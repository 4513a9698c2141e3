import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { cloudHypervisor } from '../../src/hypervisors/cloud-hypervisor/index.ts';
import { fakeCloudHypervisor, isDescribed } from '../fakes/cloud-hypervisor/program.ts';
import { describeHypervisor } from './hypervisor.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-fake-'));
  writeFileSync(path.join(folder, 'cloud-hypervisor'), fakeCloudHypervisor({ version: '53.0-dirty' }), { mode: 0o755 });
  writeFileSync(path.join(folder, 'kernel'), '\x7fELF, as far as anyone looks');
  writeFileSync(path.join(folder, 'initrd'), 'an initrd');
});
afterAll(() => rmSync(folder, { recursive: true }));

if (!isDescribed)
  process.stdout.write(
    "skipped: requests against Cloud Hypervisor's own description, which is not there (POLYVISOR_SPECS)\n",
  );

describeHypervisor(cloudHypervisor, {
  accel: 'kvm',
  variant: 'that is played',
  config: async () => ({
    hypervisorPath: path.join(folder, 'cloud-hypervisor'),
    kernel: path.join(folder, 'kernel'),
    initrd: path.join(folder, 'initrd'),
    vcpus: 2,
    maxVcpus: 2,
    memoryMiB: 256,
    virtioMem: true,
  }),
});
