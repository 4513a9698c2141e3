import { assetPath } from '../config/assets.ts';
import type { HypervisorConfig } from '../config/vm-config.ts';

/**
 * What a guest's kernel line says of its root image: with a boot initrd in front the agent mounts it, with a layer in memory above it to
 * be written to; without one the kernel does, for reading.
 * @param device as the guest finds the image, such as `/dev/vda`
 */
export function rootParams(config: HypervisorConfig, device: string): string[] {
  if (assetPath(config, 'image') === undefined) return [];
  return assetPath(config, 'initrd') === undefined
    ? [`root=${device}`, 'ro', 'rootwait']
    : [`polyvisor.root=${device}`];
}
