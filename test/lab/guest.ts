import { deserializeParams } from '../../src/config/kernel-params.ts';
import { agentBinary } from '../../src/config/package-files.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { findImage } from '../../src/images/store.ts';
import { places } from '../../src/state/paths.ts';

/** The default guest, as the lab brought it along. */
export async function defaultGuest(): Promise<VmConfigInput> {
  const image = await findImage(places().images, 'default', agentBinary);
  if (image === undefined) throw new Error('the lab came without the default guest');
  const { kernel, initrd, manifest } = image;
  const kernelParams = deserializeParams(manifest.commandLine);
  return { vcpus: 2, memoryMiB: 256, kernel, initrd, kernelParams };
}
