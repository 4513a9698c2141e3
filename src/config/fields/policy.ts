import { type FieldSpecs, path, paths, text } from '../field-info.ts';

/** Fields about what a configuration may name, and what the guest and the VMM are labelled with. */
export interface PolicyConfig {
  /** Folder in the guest with hooks the agent runs. */
  readonly guestHookPath?: string | undefined;
  /** SELinux label of the VMM's process. */
  readonly selinuxProcessLabel?: string | undefined;
  /** Patterns of the annotations that may change the config. */
  readonly enableAnnotations: readonly string[];
  readonly hypervisorPathList: readonly string[];
  readonly hypervisorCtlPathList: readonly string[];
  readonly jailerPathList: readonly string[];
  readonly virtioFsDaemonList: readonly string[];
  readonly fileBackedMemRootList: readonly string[];
  readonly vhostUserStorePathList: readonly string[];
  readonly entropySourceList: readonly string[];
}

export const policyFields: FieldSpecs<PolicyConfig> = {
  guestHookPath: {
    kataName: 'GuestHookPath',
    tomlKey: 'guest_hook_path',
    type: path,
    defaultNote: 'none',
    meaning:
      'Folder in the guest: the agent runs the programs in its `prestart` before the first command, those in `poststop` at the end.',
  },
  selinuxProcessLabel: {
    kataName: 'SELinuxProcessLabel',
    type: text(/^[A-Za-z0-9_.:,-]{1,256}$/, 'an SELinux label'),
    defaultNote: 'none',
    meaning: "SELinux label of the VMM's process.",
  },
  enableAnnotations: {
    kataName: 'EnableAnnotations',
    tomlKey: 'enable_annotations',
    type: { kind: 'list', of: text(/^[^\p{Cc}]{1,256}$/u, 'a regular expression') },
    default: [],
    meaning: 'Regular expressions: annotations whose short name matches none of them are refused.',
  },
  hypervisorPathList: {
    kataName: 'HypervisorPathList',
    tomlKey: 'valid_hypervisor_paths',
    type: paths,
    default: [],
    meaning: 'Patterns (globs) for the `hypervisorPath` an annotation may ask for.',
  },
  hypervisorCtlPathList: {
    kataName: 'HypervisorCtlPathList',
    tomlKey: 'valid_ctlpaths',
    type: paths,
    default: [],
    meaning: 'Patterns (globs) for the `hypervisorCtlPath` an annotation may ask for.',
  },
  jailerPathList: {
    kataName: 'JailerPathList',
    tomlKey: 'valid_jailer_paths',
    type: paths,
    default: [],
    meaning: 'Patterns (globs) for the `jailerPath` an annotation may ask for.',
  },
  virtioFsDaemonList: {
    kataName: 'VirtioFSDaemonList',
    tomlKey: 'valid_virtio_fs_daemon_paths',
    type: paths,
    default: [],
    meaning: 'Patterns (globs) for the `virtioFsDaemon` an annotation may ask for.',
  },
  fileBackedMemRootList: {
    kataName: 'FileBackedMemRootList',
    tomlKey: 'valid_file_mem_backends',
    type: paths,
    default: [],
    meaning: 'Patterns (globs) for the `fileBackedMemRootDir` an annotation may ask for.',
  },
  vhostUserStorePathList: {
    kataName: 'VhostUserStorePathList',
    tomlKey: 'valid_vhost_user_store_paths',
    type: paths,
    default: [],
    meaning: 'Patterns (globs) for the `vhostUserStorePath` an annotation may ask for.',
  },
  entropySourceList: {
    tomlKey: 'valid_entropy_sources',
    type: paths,
    default: [],
    meaning:
      'Patterns (globs) for the `entropySource` an annotation may ask for; without one any that is enabled goes.',
  },
};
