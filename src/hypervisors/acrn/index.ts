import type { HypervisorModule } from '../hypervisor.ts';
import { capabilities } from './capabilities.ts';
import { releaseHugePages } from './control-hugepages.ts';
import { AcrnDriver } from './driver.ts';
import { fields } from './fields.ts';
import { plan } from './plan.ts';
import { probe } from './probe.ts';
import { removeSockets } from './state-sockets.ts';

/** ACRN, driven by its device model, acrn-dm, in the Service VM. */
export const acrn: HypervisorModule = {
  type: 'acrn',
  capabilities,
  fields,
  accels: [],
  bootsGuest: true,
  bzImageOnly: true,
  plan,
  driver: (context) => new AcrnDriver(context),
  probe,
  release: async ({ id, stateFolder }) => {
    await removeSockets(id);
    await releaseHugePages(stateFolder);
  },
};
