import { cloudHypervisor } from '../../src/hypervisors/cloud-hypervisor/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { defaultGuest } from './guest.ts';

describeHypervisor(cloudHypervisor, { accel: 'kvm', config: async () => ({ ...(await defaultGuest()), maxVcpus: 2 }) });
