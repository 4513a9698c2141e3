import { existsSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { CloudHypervisorControl } from '../../../src/hypervisors/cloud-hypervisor/control.ts';
import type { MemoryZone } from '../../../src/hypervisors/cloud-hypervisor/wire.ts';
import { Vm } from '../../../src/sandbox/vm.ts';
import { places, runtimeFolder } from '../../../src/state/paths.ts';
import { codeOf } from '../../fakes/failure.ts';
import { fakeCloudHypervisor } from '../../fakes/cloud-hypervisor/program.ts';
import { fakeFirecracker } from '../../fakes/firecracker/program.ts';
import { scratch } from '../../fakes/programs.ts';

const at = scratch();

/** A template of a VMM that is played. */
const played = (hypervisor: string, program: string): ReturnType<typeof Vm.template> =>
  Vm.template({
    hypervisor,
    hypervisorPath: at.write('vmm', program, 0o755),
    kernel: at.write('kernel', '\x7fELF, as far as anyone looks'),
    initrd: at.write('initrd', 'an initrd'),
    accel: 'kvm',
    disableNestingChecks: true,
    memoryMiB: 256,
    confinement: 'off',
  });

// Played: what a real one does with the memory is for the lab to show.
it.each([
  { hypervisor: 'firecracker', program: fakeFirecracker({ version: '1.17.0' }), shared: true },
  { hypervisor: 'clh', program: fakeCloudHypervisor({ version: '53.0-dirty' }), shared: true },
])(
  '$hypervisor: a template is a snapshot, and clones and forks go on from one',
  async ({ hypervisor, program, shared }) => {
    const template = await played(hypervisor, program);
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

it('clh: clones map the memory of their template privately; what is saved of one has a file of its own', async () => {
  const zonesOf = async (vm: Vm): Promise<MemoryZone[]> => {
    const control = new CloudHypervisorControl(runtimeFolder(places(), (await vm.inspect()).id));
    return (await control.info()).config.memory.zones ?? [];
  };
  const template = await played('clh', fakeCloudHypervisor({ version: '53.0-dirty' }));
  try {
    const memory = path.join(template.info.folder, 'memory');
    expect(statSync(memory).size).toBe(256 * 2 ** 20);
    const clone = await template.clone({ confinement: 'off' });
    expect(await zonesOf(clone)).toEqual([{ id: 'mem0', size: 256 * 2 ** 20, file: memory, shared: false }]);
    // A file has one size.
    expect(await codeOf(clone.resize({ memoryMiB: 512 }))).toBe('UNSUPPORTED');
    expect(await codeOf(template.clone({ memoryMiB: 512, confinement: 'off' }))).toBe('UNSUPPORTED');
    const [fork] = (await clone.fork(1, { confinement: 'off' })) as [Vm];
    const file: unknown = expect.stringMatching(/\/memory-ranges$/);
    expect(await zonesOf(fork)).toEqual([{ id: 'mem0', size: 256 * 2 ** 20, file, shared: false }]);
    await fork.remove();
    await clone.remove();
    rmSync(memory);
    expect(await codeOf(template.clone({ confinement: 'off' }))).toBe('FILE_NOT_FOUND');
  } finally {
    await template.remove();
  }
}, 60_000);
