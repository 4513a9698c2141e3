import { agentBinary } from '../../src/config/package-files.ts';
import { deserializeParams } from '../../src/config/kernel-params.ts';
import { qemu } from '../../src/hypervisors/qemu/index.ts';
import { buildDefaultImage } from '../../src/images/build.ts';
import { places } from '../../src/state/paths.ts';
import { describeHypervisor } from '../contract/hypervisor.ts';

describeHypervisor(qemu, {
  accel: 'tcg',
  config: async () => {
    const { kernel, initrd, manifest } = await buildDefaultImage({ cacheFolder: places().images, agentPath: agentBinary });
    return { vcpus: 2, maxVcpus: 2, memoryMiB: 256, kernel, initrd, kernelParams: deserializeParams(manifest.commandLine) };
  },
});
