import { assetFieldName, assetPath } from '../assets.ts';
import { machineArch } from '../machine-arch.ts';
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

const pflashCount: Rule = ({ config, arch }) => {
  const count = config.pflash.length;
  if (count > 2) throw broken('pflash', `pflash has ${count} entries, but there are only two flash devices`);
  if (arch === 'arm64' && count === 1) {
    throw broken('pflash', 'pflash has one entry, but arm64 needs both (code and variables) or none');
  }
};

const machineOfArch: Rule = ({ config, arch }) => {
  const of = machineArch(config.machineType);
  if (of === undefined || of === arch) return;
  const text = `machineType ${config.machineType} is a machine of ${of}, but the guest is to be of ${arch}`;
  throw broken('machineType', text, 'Leave machineType or arch out.');
};

const kernelOfArch: Rule = ({ config, arch, kernelArch }) => {
  if (kernelArch === undefined || kernelArch === arch) return;
  throw broken(
    assetFieldName(config, 'kernel'),
    `the kernel ${assetPath(config, 'kernel')} is for ${kernelArch}, but the guest is to be of ${arch}`,
    `Name a kernel for ${arch}, or say \`arch: ${kernelArch}\` and no machine of another.`,
  );
};

const archOfHost: Rule = ({ input, config, arch, host, hypervisor, emulates }) => {
  if (arch === host.arch || emulates) return;
  const field = input.machineType === undefined ? assetFieldName(config, 'kernel') : 'machineType';
  const text = `${hypervisor} runs guests of this host's architecture (${host.arch}) only, not of ${arch}`;
  throw broken(field, text, 'Use the hypervisor `qemu`, which emulates others.');
};

/** Rules for what is booted. */
export const assetRules: readonly Rule[] = [
  archOfHost,
  machineOfArch,
  kernelNeeded,
  kernelOfArch,
  notImageAndInitrd,
  imageOrInitrdNeeded,
  pflashCount,
];
