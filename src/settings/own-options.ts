import { configFieldNames, configFields } from '../config/config-fields.ts';
import type { FieldInfo } from '../config/field-info.ts';
import { hypervisorTypes } from '../config/hypervisor-type.ts';
import { MAX_DURATION_MS } from '../config/units.ts';

/** An option of Vm.create that a file may set. */
export type FileOption = Pick<FieldInfo, 'name' | 'meaning' | 'type'>;

/** Options that are no configuration fields. */
export const heldOptions: readonly FileOption[] = [
  { name: 'hypervisor', meaning: 'The VMM.', type: { kind: 'choice', values: hypervisorTypes } },
  {
    name: 'confinement',
    meaning: 'How the VMM is confined: by every measure or not at all, by what this host allows, or not.',
    type: { kind: 'choice', values: ['strict', 'best', 'off'] },
  },
  {
    name: 'networkNamespace',
    meaning: 'Path of the network namespace in which the VMM is started.',
    type: { kind: 'path' },
  },
  {
    name: 'startTimeoutMs',
    meaning: 'Milliseconds until the guest must have answered.',
    type: { kind: 'integer', min: 1, max: MAX_DURATION_MS },
  },
];

/** Every option that a file may set, in the order of the docs. */
export const fileOptions: readonly FileOption[] = [
  ...heldOptions,
  ...configFieldNames.map((name) => configFields[name]),
];

/**
 * Options that decide which programs run on the host, or how little they are held in check. A file that came with a project does not
 * set them: whoever unpacks a project and runs a VM there has not agreed to run its programs outside the VM.
 */
export const hostPrograms: ReadonlySet<string> = new Set([
  'confinement',
  'networkNamespace',
  'hypervisorPath',
  'hypervisorCtlPath',
  'hypervisorParams',
  'jailerPath',
  'virtioFsDaemon',
  'virtioFsExtraArgs',
  'enableAnnotations',
  'hypervisorPathList',
  'hypervisorCtlPathList',
  'jailerPathList',
  'virtioFsDaemonList',
]);

/** Custom assets that are programs of the host. */
export const programAssets: ReadonlySet<string> = new Set(['hypervisor', 'hypervisorCtl', 'jailer']);
