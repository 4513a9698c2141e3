import { acrn } from '../../src/hypervisors/acrn/index.ts';
import { playedAcrn } from '../fakes/acrn/host.ts';
import { describeHypervisor } from './hypervisor.ts';

const played = playedAcrn();

describeHypervisor(played.module(acrn), {
  accel: 'kvm',
  variant: 'that is played',
  config: async () => ({ ...played.guest(), vcpus: 2, memoryMiB: 256 }),
});
