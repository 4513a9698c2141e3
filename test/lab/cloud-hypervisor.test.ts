import { cloudHypervisor } from '../../src/hypervisors/cloud-hypervisor/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { itRunsTheExample } from './example.ts';
import { defaultGuest } from './guest.ts';
import { itBootsARootImage } from './root-image.ts';
import { describeOwn } from './own/cloud-hypervisor.ts';
import { describeHostDevices } from './own/cloud-hypervisor-host.ts';

describeHypervisor(cloudHypervisor, {
  accel: 'kvm',
  // As root has it by default.
  confinement: 'strict',
  config: async () => ({ ...(await defaultGuest()), maxVcpus: 2, virtioMem: true }),
});
describeOwn();
describeHostDevices();
itRunsTheExample('clh', 'done');
itBootsARootImage('clh', ' as memory');
itBootsARootImage('clh', ' as a disk', () => ({ disableImageNvdimm: true }));
