import { cloudHypervisor } from '../../src/hypervisors/cloud-hypervisor/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { itRunsTheExample } from './example.ts';
import { defaultGuest } from './guest.ts';
import { itBootsARootImage } from './root-image.ts';
import { describeOwn } from './own/cloud-hypervisor.ts';

describeHypervisor(cloudHypervisor, {
  accel: 'kvm',
  config: async () => ({ ...(await defaultGuest()), maxVcpus: 2, virtioMem: true }),
});
describeOwn();
itRunsTheExample('clh', 'done');
itBootsARootImage('clh', ' as memory');
itBootsARootImage('clh', ' as a disk', () => ({ disableImageNvdimm: true }));
