import { deserializeParams } from '../../src/config/kernel-params.ts';
import { agentBinary } from '../../src/config/package-files.ts';
import type { VmConfigInput } from '../../src/config/vm-config.ts';
import { findImage } from '../../src/images/store.ts';
import { places } from '../../src/state/paths.ts';

/** The default guest, as the lab brought it along; with its kernel packed for a VMM that takes no other. */
export async function defaultGuest(packed?: 'bzImage'): Promise<VmConfigInput> {
  const image = await findImage(places().images, 'default', agentBinary);
  if (image === undefined) throw new Error('the lab came without the default guest');
  const { initrd, manifest } = image;
  const kernel = packed === undefined ? image.kernel : image.bzImage;
  if (kernel === undefined) throw new Error('the default guest has no packed kernel');
  const kernelParams = deserializeParams(manifest.commandLine);
  return { vcpus: 2, memoryMiB: 256, kernel, initrd, kernelParams };
}
