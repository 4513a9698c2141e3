import type { FieldUse } from '../../config/field-use.ts';

const ownHypervisor = 'ACRN is the hypervisor itself, below the host';
const hostCpus = 'guests of ACRN see the CPU that they run on';
const noPlug = 'the size of an ACRN guest is set when it is created';
const noSave = 'acrn-dm can neither save a guest nor go on with a saved one';
const noFolders = 'acrn-dm cannot share folders';
const noVhostUser = 'acrn-dm has no vhost-user devices';
const noDump = 'acrn-dm has no dump of memory';
const hugeAlways = 'memory of ACRN guests is always in huge pages, taken at the start';
const qemuOnly = 'it is an option of QEMU';

/** Which configuration fields ACRN uses, and its own defaults. */
export const fields: FieldUse = {
  hypervisor: 'acrn',
  uses: {
    blockDeviceCacheDirect: true,
    blockDeviceCacheSet: true,
    blockDeviceDriver: true,
    customAssets: true,
    debug: true,
    disableBlockDeviceUse: true,
    disableVhostNet: true,
    enableAnnotations: true,
    hypervisorParams: true,
    hypervisorPath: true,
    hypervisorPathList: true,
    image: true,
    initrd: true,
    kernel: true,
    kernelParams: true,
    memoryMiB: true,
    vcpus: true,
  },
  unused: {
    accel: ownHypervisor,
    blockDeviceCacheNoflush: 'acrn-dm flushes a disk whenever its guest asks',
    bootFromTemplate: noSave,
    bootToBeTemplate: noSave,
    cpuFeatures: hostCpus,
    cpuModel: hostCpus,
    defaultBridges: 'acrn-dm has one PCI bus',
    devicesStatePath: noSave,
    disableImageNvdimm: 'acrn-dm has no NVDIMMs',
    disableNestingChecks: ownHypervisor,
    enableIoThreads: 'a disk of ACRN gets a thread of its own by `ioThread` of the device',
    enableVhostUserStore: noVhostUser,
    entropySource: 'acrn-dm reads /dev/random, and no other source',
    entropySourceList: 'acrn-dm reads /dev/random, and no other source',
    fileBackedMemRootDir: hugeAlways,
    fileBackedMemRootList: hugeAlways,
    firmware: 'this driver boots kernels without a firmware',
    guestHookPath: 'this version runs no hooks in guests',
    guestMemoryDumpPaging: noDump,
    guestMemoryDumpPath: noDump,
    hotplugVfioOnRootBus: 'this driver hands no devices of the host through',
    hugePages: hugeAlways,
    hypervisorCtlPath: 'acrn-dm is asked by its own socket: acrnctl is not needed, and says nothing of what fails',
    hypervisorCtlPathList: 'acrn-dm needs no control program',
    iommu: qemuOnly,
    iommuPlatform: qemuOnly,
    jailerPath: 'acrn-dm comes without a jailer',
    jailerPathList: 'acrn-dm comes without a jailer',
    machineAccelerators: qemuOnly,
    machineType: 'acrn-dm has one kind of machine',
    maxVcpus: noPlug,
    memoryOffsetMiB: noPlug,
    memoryPath: noSave,
    memorySlots: noPlug,
    memPrealloc: hugeAlways,
    mlock: hugeAlways,
    msize9pBytes: noFolders,
    numaMapping: qemuOnly,
    pcieRootPorts: 'acrn-dm has one PCI bus',
    pflash: 'this driver boots kernels without a firmware',
    realtime: 'real-time guests of ACRN are set up in its scenario',
    reclaimGuestFreedMemory: 'memory of ACRN guests stays theirs until they end',
    selinuxProcessLabel: 'this version sets no SELinux labels',
    sharedFs: noFolders,
    useVsock: 'the agent of an ACRN guest is reached by serial ports',
    vhostUserStorePath: noVhostUser,
    vhostUserStorePathList: noVhostUser,
    virtioFsCache: noFolders,
    virtioFsCacheSizeMiB: noFolders,
    virtioFsDaemon: noFolders,
    virtioFsDaemonList: noFolders,
    virtioFsExtraArgs: noFolders,
    virtioMem: noPlug,
    vmId: 'VM ids are made by this library',
  },
  // VM_MAXCPU of acrn-dm.
  maxVcpus: 16,
  defaults: { blockDeviceDriver: 'virtio-blk' },
};
