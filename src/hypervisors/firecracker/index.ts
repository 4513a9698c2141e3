import { assetPath } from '../../config/assets.ts';
import type { HypervisorModule } from '../hypervisor.ts';
import { places, runtimeFolder } from '../../state/paths.ts';
import { capabilities } from './capabilities.ts';
import { clearJail } from './control-jail.ts';
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
  bootsElf: true,
  confinesItself: (config) => assetPath(config, 'jailer') !== undefined,
  plan,
  driver: (context) => new FirecrackerDriver(context),
  probe,
  release: ({ id }) => clearJail(runtimeFolder(places(), id), id),
};
