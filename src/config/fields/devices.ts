import { DEFAULT_BRIDGES, DEFAULT_ENTROPY_SOURCE, DEFAULT_VHOST_USER_STORE_PATH, MAX_BRIDGES } from '../defaults.ts';
import { type FieldSpecs, flag, integer, path } from '../field-info.ts';

/** Fields about devices, buses and what can be plugged. */
export interface DeviceConfig {
  /** PCI bridges for hot-plugged devices. */
  readonly defaultBridges: number;
  /** PCIe root ports for hot-plugged devices. */
  readonly pcieRootPorts?: number | undefined;
  readonly hotplugVfioOnRootBus: boolean;
  readonly iommu: boolean;
  readonly iommuPlatform: boolean;
  /** Host file that feeds the guest's random number device. */
  readonly entropySource: string;
  readonly useVsock: boolean;
  readonly disableVhostNet: boolean;
  readonly enableVhostUserStore: boolean;
  /** Folder of the vhost-user sockets; absent unless `enableVhostUserStore`. */
  readonly vhostUserStorePath?: string | undefined;
}

/** Root ports sit in slots of the root bus, which has 32 and other guests. */
const MAX_PCIE_ROOT_PORTS = 16;

export const deviceFields: FieldSpecs<DeviceConfig> = {
  defaultBridges: {
    kataName: 'DefaultBridges',
    tomlKey: 'default_bridges',
    type: integer(1, MAX_BRIDGES),
    unit: 'bridges',
    default: DEFAULT_BRIDGES,
    meaning: 'PCI bridges that hot-plugged devices go to.',
  },
  pcieRootPorts: {
    kataName: 'PCIeRootPort',
    tomlKey: 'pcie_root_port',
    type: integer(1, MAX_PCIE_ROOT_PORTS),
    unit: 'ports',
    defaultNote: 'none',
    meaning: 'PCIe root ports that hot-plugged devices go to. q35 only.',
  },
  hotplugVfioOnRootBus: {
    kataName: 'HotplugVFIOOnRootBus',
    tomlKey: 'hotplug_vfio_on_root_bus',
    type: flag,
    default: false,
    meaning: 'Hot-plug VFIO devices on the root bus instead of a bridge.',
  },
  iommu: {
    kataName: 'IOMMU',
    tomlKey: 'enable_iommu',
    type: flag,
    default: false,
    meaning: 'Give the guest an IOMMU. q35 only.',
  },
  iommuPlatform: {
    kataName: 'IOMMUPlatform',
    tomlKey: 'enable_iommu_platform',
    type: flag,
    default: false,
    meaning: "Have virtio devices go through the guest's IOMMU.",
  },
  entropySource: {
    kataName: 'EntropySource',
    tomlKey: 'entropy_source',
    type: path,
    default: DEFAULT_ENTROPY_SOURCE,
    meaning: "Host file that feeds the guest's random number device.",
  },
  useVsock: {
    kataName: 'UseVSock',
    tomlKey: 'use_vsock',
    type: flag,
    default: false,
    meaning: 'Reach the agent through a vsock instead of a serial port.',
  },
  disableVhostNet: {
    kataName: 'DisableVhostNet',
    tomlKey: 'disable_vhost_net',
    type: flag,
    default: false,
    meaning: "Keep network packets out of the host kernel's vhost-net.",
  },
  enableVhostUserStore: {
    kataName: 'EnableVhostUserStore',
    tomlKey: 'enable_vhost_user_store',
    type: flag,
    default: false,
    meaning: 'Allow vhost-user devices, whose sockets lie under `vhostUserStorePath`. Needs `hugePages`.',
  },
  vhostUserStorePath: {
    kataName: 'VhostUserStorePath',
    tomlKey: 'vhost_user_store_path',
    type: path,
    defaultNote: `${DEFAULT_VHOST_USER_STORE_PATH} with \`enableVhostUserStore\``,
    meaning: 'Folder under which the sockets of vhost-user devices must lie.',
  },
};
