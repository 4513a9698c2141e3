import { assetFieldName, assetPath } from '../assets.ts';
import { broken, type Rule } from './rule.ts';

const kernelNeeded: Rule = ({ config }) => {
  if (assetPath(config, 'kernel') !== undefined) return;
  throw broken(
    'kernel',
    'The path of the kernel is missing (kernel)',
    'Set `kernel`, or name no part of a guest to get the default one.',
  );
};

const notImageAndInitrd: Rule = ({ config }) => {
  if (assetPath(config, 'image') === undefined || assetPath(config, 'initrd') === undefined) return;
  const field = assetFieldName(config, 'initrd');
  throw broken(field, `image and ${field} are both set, but a VM has either an image or an initrd`, 'Leave one out.');
};

const imageOrInitrdNeeded: Rule = ({ config }) => {
  if (assetPath(config, 'image') !== undefined || assetPath(config, 'initrd') !== undefined) return;
  throw broken('initrd', 'The paths of image and initrd are both missing: one is needed', 'Set `initrd`, or `image`.');
};

const pflashCount: Rule = ({ config, host }) => {
  const count = config.pflash.length;
  if (count > 2) throw broken('pflash', `pflash has ${count} entries, but there are only two flash devices`);
  if (host.arch === 'arm64' && count === 1) {
    throw broken('pflash', 'pflash has one entry, but arm64 needs both (code and variables) or none');
  }
};

/** Rules for what is booted. */
export const assetRules: readonly Rule[] = [kernelNeeded, notImageAndInitrd, imageOrInitrdNeeded, pflashCount];
