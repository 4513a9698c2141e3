import { mock } from '../../../src/hypervisors/mock/index.ts';
import { describeHollow } from './suite.ts';

describeHollow(mock, { accel: 'tcg', config: async () => ({ vcpus: 2, maxVcpus: 2, memoryMiB: 512 }) });
