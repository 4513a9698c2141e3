import { firecracker } from '../../src/hypervisors/firecracker/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { defaultGuest } from './guest.ts';

describeHypervisor(firecracker, { accel: 'kvm', config: defaultGuest });
