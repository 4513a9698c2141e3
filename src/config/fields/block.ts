import { choice, type FieldSpecs, flag } from '../field-info.ts';

/** How block devices are attached. */
export type BlockDeviceDriver = 'virtio-scsi' | 'virtio-blk' | 'virtio-mmio' | 'nvdimm' | 'virtio-blk-ccw';

/** Fields about block devices. */
export interface BlockConfig {
  readonly blockDeviceDriver: BlockDeviceDriver;
  readonly blockDeviceCacheSet: boolean;
  readonly blockDeviceCacheDirect: boolean;
  readonly blockDeviceCacheNoflush: boolean;
  readonly disableBlockDeviceUse: boolean;
  readonly enableIoThreads: boolean;
}

export const blockFields: FieldSpecs<BlockConfig> = {
  blockDeviceDriver: {
    kataName: 'BlockDeviceDriver',
    tomlKey: 'block_device_driver',
    type: choice('virtio-scsi', 'virtio-blk', 'virtio-mmio', 'nvdimm', 'virtio-blk-ccw'),
    default: 'virtio-scsi',
    meaning: 'Bus on which block devices reach the guest.',
  },
  blockDeviceCacheSet: {
    kataName: 'BlockDeviceCacheSet',
    tomlKey: 'block_device_cache_set',
    type: flag,
    default: false,
    meaning: 'Set the cache options of block devices, instead of leaving them to the VMM.',
  },
  blockDeviceCacheDirect: {
    kataName: 'BlockDeviceCacheDirect',
    tomlKey: 'block_device_cache_direct',
    type: flag,
    default: false,
    meaning: "With `blockDeviceCacheSet`: go past the host's page cache (O_DIRECT).",
  },
  blockDeviceCacheNoflush: {
    kataName: 'BlockDeviceCacheNoflush',
    tomlKey: 'block_device_cache_noflush',
    type: flag,
    default: false,
    meaning: 'With `blockDeviceCacheSet`: ignore flush requests of the guest. Data is lost when the host fails.',
  },
  disableBlockDeviceUse: {
    kataName: 'DisableBlockDeviceUse',
    tomlKey: 'disable_block_device_use',
    type: flag,
    default: false,
    meaning: 'Refuse to attach block devices.',
  },
  enableIoThreads: {
    kataName: 'EnableIOThreads',
    tomlKey: 'enable_iothreads',
    type: flag,
    default: false,
    meaning: 'Serve block devices in a thread of their own. virtio-scsi only.',
  },
};
