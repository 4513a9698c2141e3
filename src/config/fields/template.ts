import { type FieldSpecs, flag, path, text } from '../field-info.ts';

/** Fields about templates, from which VMs are cloned. */
export interface TemplateConfig {
  readonly bootToBeTemplate: boolean;
  readonly bootFromTemplate: boolean;
  /** File with the memory of the template. */
  readonly memoryPath?: string | undefined;
  /** File with the device state of the template. */
  readonly devicesStatePath?: string | undefined;
  /** Id of the factory's VM that this one was made from. */
  readonly vmId?: string | undefined;
}

export const templateFields: FieldSpecs<TemplateConfig> = {
  bootToBeTemplate: {
    kataName: 'BootToBeTemplate',
    type: flag,
    default: false,
    meaning: 'Boot a VM that others are cloned from.',
  },
  bootFromTemplate: {
    kataName: 'BootFromTemplate',
    type: flag,
    default: false,
    meaning: 'Make the VM from a template instead of booting it.',
  },
  memoryPath: {
    kataName: 'MemoryPath',
    type: path,
    defaultNote: 'set by the factory',
    meaning: "File with the template's memory.",
  },
  devicesStatePath: {
    kataName: 'DevicesStatePath',
    type: path,
    defaultNote: 'set by the factory',
    meaning: "File with the state of the template's devices.",
  },
  vmId: {
    kataName: 'VMid',
    type: text(/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/, 'the name of a VM'),
    defaultNote: 'set by the factory',
    meaning: "The factory's VM that this one was made from.",
  },
};
