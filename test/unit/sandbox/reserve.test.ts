import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { Vm } from '../../../src/sandbox/vm.ts';
import { bootId } from '../../../src/state/process-identity.ts';
import { VmStore } from '../../../src/state/store.ts';
import { codeOf } from '../../fakes/failure.ts';

it('gives a name again that only the remains of a dead process hold', async () => {
  const { pid } = spawnSync('/bin/true');
  await new VmStore().create({ name: 'again', hypervisor: 'mock', owner: { pid, startTime: 1, bootId: bootId() } });
  const vm = await Vm.create({ hypervisor: 'mock', name: 'again' });
  try {
    expect(await codeOf(Vm.create({ hypervisor: 'mock', name: 'again' }))).toBe('NAME_IN_USE');
    expect((await vm.exec(['echo', 'alive'])).stdout).toBe('alive\n');
  } finally {
    await vm.remove();
  }
});
