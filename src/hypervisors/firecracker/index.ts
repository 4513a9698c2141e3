import type { HypervisorModule } from '../hypervisor.ts';
import { capabilities } from './capabilities.ts';
import { FirecrackerDriver } from './driver.ts';
import { fields } from './fields.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';

/** Firecracker, driven over its REST API. */
export const firecracker: HypervisorModule = {
  type: 'firecracker',
  capabilities,
  fields,
  accels: ['kvm'],
  bootsGuest: true,
  plan,
  driver: (context) => new FirecrackerDriver(context),
  probe,
};
