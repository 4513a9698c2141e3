import { existsSync } from 'node:fs';
import { configFieldNames, configFields } from '../config/config-fields.ts';
import { idleFields } from '../config/rules/usefulness.ts';
import type { ConfigField, HypervisorConfig, VmConfigInput } from '../config/vm-config.ts';
import type { TomlEntry } from '../toml/document.ts';
import type { Import } from './import.ts';
import { kataVmms, virtioFsCacheDefault } from './vmm-rules.ts';

/** The checks and defaults of Kata's loader that look at more than one key. */
export function checkAcrossKeys(made: Import): void {
  checkBootAssets(made);
  checkFactory(made);
  checkVirtioFs(made);
  settleNuma(made);
  settleVsock(made);
  fillDefaults(made);
  dropIdle(made);
}

function textOf(entry: TomlEntry | undefined): string {
  return entry?.value.kind === 'string' ? entry.value.value : '';
}

function sectionOf({ section }: Import): Pick<TomlEntry, 'path' | 'place'> {
  return { path: ['hypervisor', section.name], place: section.place };
}

function checkBootAssets(made: Import): void {
  const { imageOnly, noGuest, kernelAlone } = kataVmms[made.section.type];
  const [image, initrd] = [made.entryOf('image'), made.entryOf('initrd')];
  if (noGuest === true || (kernelAlone === true && made.version === 'today')) return;
  if (imageOnly === true) {
    if (textOf(image) === '') made.problem(image ?? sectionOf(made), 'image must be defined in the configuration file');
  } else if (textOf(image) !== '' && textOf(initrd) !== '' && initrd !== undefined) {
    made.problem(initrd, 'having both an image and an initrd defined in the configuration file is not supported');
  } else if (textOf(image) === '' && textOf(initrd) === '') {
    made.problem(sectionOf(made), 'either image or initrd must be defined in the configuration file');
  }
}

function checkFactory(made: Import): void {
  const { template, cacheNumber } = made.factory;
  const place = sectionOf(made);
  const { vmCache, noGuest } = kataVmms[made.section.type];
  if (template && noGuest !== true && textOf(made.entryOf('initrd')) === '')
    made.problem(place, 'Factory option enable_template requires an initrd image');
  if (cacheNumber > 0 && vmCache !== true) made.problem(place, 'VM cache just support qemu');
}

function checkVirtioFs(made: Import): void {
  const stated = made.entryOf('shared_fs');
  const sharedFs = textOf(stated) || kataVmms[made.section.type].sharedFs?.[made.version];
  if (sharedFs !== 'virtio-fs' || textOf(made.entryOf('virtio_fs_daemon')) !== '') return;
  made.problem(stated ?? sectionOf(made), 'cannot enable virtio-fs without daemon path in configuration file');
}

function settleNuma(made: Import): void {
  const enabled = made.entryOf('enable_numa');
  const isOn = enabled?.value.kind === 'boolean' && enabled.value.value;
  if (isOn && made.options.numaMapping === undefined)
    made.giveUp('numaMapping', 'unsupported', 'the nodes must be named in numa_mapping');
  if (!isOn && made.options.numaMapping !== undefined)
    made.giveUp('numaMapping', 'no-meaning', 'enable_numa is not set');
}

/** As Kata does for QEMU: a host without vsock gets a serial port. */
function settleVsock(made: Import): void {
  if (kataVmms[made.section.type].hostVsock !== true) return;
  if (made.options.useVsock !== true || existsSync('/dev/vhost-vsock')) return;
  made.giveUp('useVsock', 'unsupported', 'this host has no /dev/vhost-vsock, so that it is a serial port');
}

function fillDefaults(made: Import): void {
  const { defaults, sharedFs } = kataVmms[made.section.type];
  for (const [field, value] of Object.entries(defaults[made.version])) made.setDefault(field as ConfigField, value);
  if (textOf(made.entryOf('shared_fs')) === '') made.setDefault('sharedFs', sharedFs?.[made.version]);
  if (made.options.sharedFs === 'virtio-fs') made.setDefault('virtioFsCache', virtioFsCacheDefault[made.version]);
  // This machine has no nvdimm.
  if (made.options.machineType === 'microvm' && made.options.disableImageNvdimm !== true) {
    delete made.options.disableImageNvdimm;
    made.setDefault('disableImageNvdimm', true);
  }
}

/** Kata files set what only counts together with another key; polyvisor refuses a VM that is made so. */
function dropIdle(made: Import): void {
  const general = Object.fromEntries(configFieldNames.map((name) => [name, configFields[name].default]));
  const filled = { ...general, ...made.fields.defaults, ...made.options } as unknown as HypervisorConfig;
  for (const { field, without } of idleFields(made.options as VmConfigInput, filled))
    made.giveUp(field, 'no-meaning', `it does nothing without ${without}`);
}
