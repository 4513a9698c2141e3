import { qemu } from '../../src/hypervisors/qemu/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { itRunsTheExample } from './example.ts';
import { defaultGuest } from './guest.ts';

describeHypervisor(qemu, { accel: 'kvm', config: async () => ({ ...(await defaultGuest()), maxVcpus: 2 }) });
itRunsTheExample('qemu', 'done');
