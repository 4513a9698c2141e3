import type { HypervisorModule } from '../hypervisor.ts';
import { capabilities } from './capabilities.ts';
import { MockDriver } from './driver.ts';
import { fields } from './fields.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';

/** A VMM without a virtual machine, for tests of users' code. */
export const mock: HypervisorModule = {
  type: 'mock',
  capabilities,
  fields,
  accels: [],
  bootsGuest: false,
  unpacksImage: true,
  plan,
  driver: (context) => new MockDriver(context),
  probe,
};
