import type { HypervisorModule } from '../hypervisor.ts';
import { capabilities } from './capabilities.ts';
import { CloudHypervisorDriver } from './driver.ts';
import { fields } from './fields.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';

/** Cloud Hypervisor, driven over its REST API. */
export const cloudHypervisor: HypervisorModule = {
  type: 'clh',
  capabilities,
  fields,
  accels: ['kvm'],
  bootsGuest: true,
  plan,
  driver: (context) => new CloudHypervisorDriver(context),
  probe,
};
