import { mock } from '../../src/hypervisors/mock/index.ts';
import { describeHypervisor } from './hypervisor.ts';

describeHypervisor(mock, { accel: 'tcg', config: async () => ({ vcpus: 2, maxVcpus: 2, memoryMiB: 512 }) });
