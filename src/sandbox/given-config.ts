import { parseConfig } from '../config/parse.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import { VmError } from '../errors.ts';
import { hostImageName } from '../images/image.ts';
import type { Places } from '../state/paths.ts';
import { type StoredImage, storedImage } from './root-image.ts';

/** What options say of a configuration. */
export interface GivenConfig {
  /** with the file of an image that is named; nothing where the default guest is, or a kernel of this host's */
  input: VmConfigInput;
  /** the image that is named; undefined for a path, and when there is none */
  stored: StoredImage | undefined;
  /** the guest is to run this host's kernel */
  usesHostKernel: boolean;
}

/** @throws {VmError} INVALID_CONFIG, IMAGE_NOT_FOUND, INVALID_NAME */
export async function givenConfig(config: Record<string, unknown>, at: Places): Promise<GivenConfig> {
  const usesHostKernel = config['kernel'] === hostImageName;
  const plain = usesHostKernel ? withoutKernel(config) : config;
  const stored = await storedImage(at.roots, config['image']);
  const input = parseConfig(stored === undefined ? plain : { ...plain, image: stored.file });
  return { input, stored, usesHostKernel };
}

/** Takes out the word for the host's kernel: the schema knows paths only. @throws {VmError} INVALID_CONFIG with an initrd */
function withoutKernel(config: Record<string, unknown>): Record<string, unknown> {
  const { initrd, customAssets } = config;
  if (initrd === undefined && customAssets === undefined) return { ...config, kernel: undefined };
  throw new VmError('INVALID_CONFIG', "the host's kernel comes with an initrd of its own", {
    field: 'kernel',
    advice: 'Leave `initrd` and `customAssets` out, or name the kernel by its path.',
  });
}
