import { type FieldSpecs, path } from '../field-info.ts';
import type { Param } from '../kernel-params.ts';

/** Fields about the programs that run on the host. */
export interface ProgramConfig {
  /** The VMM's executable. */
  readonly hypervisorPath?: string | undefined;
  /** The VMM's control program. */
  readonly hypervisorCtlPath?: string | undefined;
  /** The VMM's jailer. */
  readonly jailerPath?: string | undefined;
  /** Extra arguments for the VMM. */
  readonly hypervisorParams: readonly Param[];
}

export const programFields: FieldSpecs<ProgramConfig> = {
  hypervisorPath: {
    kataName: 'HypervisorPath',
    tomlKey: 'path',
    type: path,
    defaultNote: 'looked up in PATH',
    meaning: "The VMM's executable.",
  },
  hypervisorCtlPath: {
    kataName: 'HypervisorCtlPath',
    tomlKey: 'ctlpath',
    type: path,
    defaultNote: 'looked up in PATH',
    meaning: "The VMM's control program, such as acrnctl.",
  },
  jailerPath: {
    kataName: 'JailerPath',
    tomlKey: 'jailer_path',
    type: path,
    defaultNote: "the VMM's own choice",
    meaning: 'The program that confines the VMM.',
  },
  hypervisorParams: {
    kataName: 'HypervisorParams',
    type: { kind: 'params', emptyKey: true },
    default: [],
    meaning: 'Extra arguments for the VMM, passed on as they are after ours.',
  },
};
