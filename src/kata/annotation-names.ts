import type { AssetType } from '../config/asset-type.ts';
import { configFields } from '../config/config-fields.ts';
import type { ConfigField } from '../config/vm-config.ts';

/** Files that an annotation may replace, by the short name of the annotation. */
export const annotatedAssets: ReadonlyMap<string, AssetType> = new Map<string, AssetType>([
  ['kernel', 'kernel'],
  ['image', 'image'],
  ['initrd', 'initrd'],
  ['firmware', 'firmware'],
  ['path', 'hypervisor'],
  ['ctlpath', 'hypervisorCtl'],
  ['jailer_path', 'jailer'],
]);

/** Annotations with the SHA-512 of these files. */
export const hashNames: ReadonlyMap<string, AssetType> = new Map<string, AssetType>([
  ['kernel_hash', 'kernel'],
  ['image_hash', 'image'],
  ['initrd_hash', 'initrd'],
  ['firmware_hash', 'firmware'],
  ['hypervisor_hash', 'hypervisor'],
  ['hypervisorctl_hash', 'hypervisorCtl'],
  ['jailer_hash', 'jailer'],
]);

/**
 * Fields that have an annotation. It is a list of its own: what limits annotations, such as `enableAnnotations`, must never be among
 * them.
 */
const fields: readonly ConfigField[] = [
  'blockDeviceCacheDirect',
  'blockDeviceCacheNoflush',
  'blockDeviceCacheSet',
  'blockDeviceDriver',
  'cpuFeatures',
  'disableBlockDeviceUse',
  'disableImageNvdimm',
  'disableVhostNet',
  'enableIoThreads',
  'enableVhostUserStore',
  'entropySource',
  'fileBackedMemRootDir',
  'guestHookPath',
  'hotplugVfioOnRootBus',
  'hugePages',
  'iommu',
  'iommuPlatform',
  'kernelParams',
  'machineAccelerators',
  'machineType',
  'memPrealloc',
  'memoryMiB',
  'memoryOffsetMiB',
  'memorySlots',
  'mlock',
  'msize9pBytes',
  'numaMapping',
  'pcieRootPorts',
  'reclaimGuestFreedMemory',
  'sharedFs',
  'useVsock',
  'vcpus',
  'vhostUserStorePath',
  'virtioFsCache',
  'virtioFsCacheSizeMiB',
  'virtioFsDaemon',
  'virtioFsExtraArgs',
  'virtioMem',
];

/** Fields by the short name of their annotation: Kata's key, but for one that Kata spells otherwise. */
export const annotatedFields: ReadonlyMap<string, ConfigField> = new Map<string, ConfigField>([
  ...fields.map((field) => [configFields[field].tomlKey ?? field, field] as const),
  ['default_max_vcpus', 'maxVcpus'],
]);

/** Which list a path must match, and Kata's word for what the path is of. */
export const pathLists: {
  readonly [K in ConfigField]?: {
    readonly list: ConfigField;
    readonly what: string;
    /** whether anything goes when the list is empty */
    readonly optional?: true;
  };
} = {
  hypervisorPath: { list: 'hypervisorPathList', what: 'hypervisor' },
  hypervisorCtlPath: { list: 'hypervisorCtlPathList', what: 'hypervisor control' },
  jailerPath: { list: 'jailerPathList', what: 'jailer' },
  virtioFsDaemon: { list: 'virtioFsDaemonList', what: 'virtiofs daemon' },
  fileBackedMemRootDir: { list: 'fileBackedMemRootList', what: 'file_mem_backend value' },
  vhostUserStorePath: { list: 'vhostUserStorePathList', what: 'vhost store path' },
  // Kata 1.x has no such list, and lets any source pass.
  entropySource: { list: 'entropySourceList', what: 'entropy source', optional: true },
};
