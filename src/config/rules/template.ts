import { broken, type Rule } from './rule.ts';

const notToBeAndFrom: Rule = ({ config }) => {
  if (!config.bootToBeTemplate || !config.bootFromTemplate) return;
  throw broken('bootFromTemplate', 'bootToBeTemplate and bootFromTemplate are both set: a VM is one or the other');
};

const memoryPathNeeded: Rule = ({ config }) => {
  if (config.memoryPath !== undefined || !(config.bootToBeTemplate || config.bootFromTemplate)) return;
  throw broken('memoryPath', 'memoryPath is missing: a template, or a VM made from one, needs the memory file');
};

// virtcontainers asks for this only when it boots from a template, and notices too late when it makes one.
const devicesStatePathNeeded: Rule = ({ config }) => {
  if (config.devicesStatePath !== undefined || !(config.bootToBeTemplate || config.bootFromTemplate)) return;
  throw broken(
    'devicesStatePath',
    'devicesStatePath is missing: a template, or a VM made from one, needs the file of the device state',
  );
};

// A template's memory is one file that clones map privately; these two want it shared or elsewhere.
const memoryIsTheTemplates: Rule = ({ config, input }) => {
  if (!config.bootToBeTemplate && !config.bootFromTemplate) return;
  if (config.fileBackedMemRootDir !== undefined) {
    throw broken('fileBackedMemRootDir', 'fileBackedMemRootDir does not go with templates: their memory is memoryPath');
  }
  if (input.sharedFs === 'virtio-fs') {
    throw broken('sharedFs', 'sharedFs virtio-fs does not go with templates: it needs memory shared with its daemon');
  }
};

// Each of these takes all of the memory for the VM alone, or wants it in several pieces.
const memoryIsOneFile: Rule = ({ config }) => {
  if (!config.bootToBeTemplate && !config.bootFromTemplate) return;
  for (const field of ['hugePages', 'memPrealloc', 'enableVhostUserStore'] as const) {
    if (config[field])
      throw broken(field, `${field} does not go with templates: their memory is one file, shared page by page`);
  }
  if (config.numaMapping.length > 0)
    throw broken(
      'numaMapping',
      'numaMapping does not go with templates: their memory is one file, in no node of its own',
    );
};

/** Rules for templates and the VMs made from them. */
export const templateRules: readonly Rule[] = [
  notToBeAndFrom,
  memoryPathNeeded,
  devicesStatePathNeeded,
  memoryIsTheTemplates,
  memoryIsOneFile,
];
