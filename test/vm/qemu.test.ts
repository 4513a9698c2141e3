import { agentBinary } from '../../src/config/package-files.ts';
import { deserializeParams } from '../../src/config/kernel-params.ts';
import { defaultLevel } from '../../src/confinement/confinement.ts';
import { qemu } from '../../src/hypervisors/qemu/index.ts';
import { findImage } from '../../src/images/store.ts';
import { places } from '../../src/state/paths.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';
import { keepsAcrossTests } from '../support/leaks.ts';

// The bus that was made for a serial port stays, and is written down.
keepsAcrossTests('file', /devices\.json/);

describeHypervisor(qemu, {
  accel: 'tcg',
  // As a user gets it.
  confinement: defaultLevel(),
  config: async () => {
    const image = await findImage(places().images, 'default', agentBinary);
    if (image === undefined) throw new Error('vm-global-setup.ts should have built the default guest');
    const { kernel, initrd, manifest } = image;
    return {
      vcpus: 2,
      maxVcpus: 2,
      memoryMiB: 256,
      kernel,
      initrd,
      kernelParams: deserializeParams(manifest.commandLine),
    };
  },
});
