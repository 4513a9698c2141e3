import { readHostFacts } from '../../src/config/host.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { firecracker } from '../../src/hypervisors/firecracker/index.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { itRunsTheExample } from './example.ts';
import { defaultGuest } from './guest.ts';
import { itBootsARootImage } from './root-image.ts';
import { describeOwn } from './own/firecracker.ts';
import { describeFigures } from './own/firecracker-figures.ts';

const { version = '', path: hypervisorPath } = await firecracker.probe(await readHostFacts());
const resumeEndsSessions = ['1.16.0', '1.16.1'].includes(version);
const jailerPath = process.env['POLYVISOR_JAILER'] ?? '/usr/bin/jailer';
const guest = async (): Promise<VmConfigInput> => ({ ...(await defaultGuest()), virtioMem: true });
const jailed = async (): Promise<VmConfigInput> => ({
  ...(await guest()),
  jailerPath,
  ...(hypervisorPath === undefined ? {} : { hypervisorPath }),
});

// As root has it by default.
describeHypervisor(firecracker, { accel: 'kvm', confinement: 'strict', resumeEndsSessions, config: guest });
describeHypervisor(firecracker, { accel: 'kvm', resumeEndsSessions, config: jailed, variant: 'in its jail' });
describeOwn(jailerPath);
describeFigures();
itRunsTheExample('firecracker', 'done');
itBootsARootImage('firecracker', '');
