import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { Vm } from '../../../src/sandbox/vm.ts';
import { fakeCloudHypervisor } from '../../fakes/cloud-hypervisor/program.ts';
import { fakeFirecracker } from '../../fakes/firecracker/program.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

// Played: what a real one does with the memory is for the lab to show.
it.each([
  { hypervisor: 'firecracker', program: fakeFirecracker({ version: '1.17.0' }), shared: true },
  { hypervisor: 'clh', program: fakeCloudHypervisor({ version: '53.0-dirty' }), shared: false },
])(
  '$hypervisor: a template is a snapshot, and clones and forks go on from one',
  async ({ hypervisor, program, shared }) => {
    const template = await Vm.template({
      hypervisor,
      hypervisorPath: at.write('vmm', program, 0o755),
      kernel: at.write('kernel', '\x7fELF, as far as anyone looks'),
      initrd: at.write('initrd', 'an initrd'),
      accel: 'kvm',
      disableNestingChecks: true,
      memoryMiB: 256,
      confinement: 'off',
    });
    try {
      expect(template.info).toMatchObject({ hypervisor, shared });
      const clones = [await template.clone({ confinement: 'off' }), await template.clone({ confinement: 'off' })];
      const [fork] = await (clones[0] as Vm).fork(1, { confinement: 'off' });
      for (const vm of [...clones, fork as Vm]) {
        expect((await vm.exec(['echo', 'on'])).stdout).toBe('on\n');
        expect((await vm.agent.info()).reseeds).toBe(1);
        await vm.remove();
      }
    } finally {
      await template.remove();
    }
    expect(existsSync(template.info.folder)).toBe(false);
  },
  60_000,
);
