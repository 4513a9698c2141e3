import { qemu } from '../../src/hypervisors/qemu/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { itRunsTheExample } from './example.ts';
import { defaultGuest } from './guest.ts';
import { itBootsARootImage } from './root-image.ts';
import { describeOwn } from './own/qemu.ts';
import { keepsAcrossTests } from '../support/leaks.ts';

// The bus that was made for a serial port stays, and is written down.
keepsAcrossTests('file', /devices\.json/);

describeHypervisor(qemu, { accel: 'kvm', config: async () => ({ ...(await defaultGuest()), maxVcpus: 2 }) });
describeOwn();
itRunsTheExample('qemu', 'done');
itBootsARootImage('qemu', '');
