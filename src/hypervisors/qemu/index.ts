import type { HypervisorModule } from '../hypervisor.ts';
import { capabilities } from './capabilities.ts';
import { QemuDriver } from './driver.ts';
import { fields } from './fields.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';

/** QEMU, driven over QMP. */
export const qemu: HypervisorModule = {
  type: 'qemu',
  capabilities,
  fields,
  accels: ['kvm', 'tcg'],
  bootsGuest: true,
  plan,
  driver: (context) => new QemuDriver(context),
  probe,
};
