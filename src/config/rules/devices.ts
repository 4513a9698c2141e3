import { machineArch } from '../machine-arch.ts';
import { broken, type Rule } from './rule.ts';

const virtioFsNeedsDaemon: Rule = ({ config, input }) => {
  // A VMM whose default is virtio-fs needs the daemon only once a folder is shared.
  if (input.sharedFs !== 'virtio-fs' || config.virtioFsDaemon !== undefined) return;
  throw broken(
    'virtioFsDaemon',
    'virtioFsDaemon is missing: virtio-fs needs the path of its daemon',
    'Debian has one in qemu-system-common: /usr/lib/qemu/virtiofsd.',
  );
};

const vhostUserNeedsHugePages: Rule = ({ config }) => {
  if (!config.enableVhostUserStore || config.hugePages) return;
  throw broken('hugePages', 'enableVhostUserStore needs hugePages: vhost-user back ends map the memory of the guest');
};

const iommuNeedsQ35: Rule = ({ config }) => {
  if (!config.iommu || isQ35(config.machineType)) return;
  throw broken('iommu', `iommu needs machineType q35, not ${config.machineType ?? 'the default'}`);
};

const rootPortsNeedPcie: Rule = ({ config }) => {
  if (config.pcieRootPorts === undefined || isQ35(config.machineType) || machineArch(config.machineType) === 'arm64')
    return;
  throw broken(
    'pcieRootPorts',
    `pcieRootPorts needs machineType q35 or virt, not ${config.machineType ?? 'the default'}`,
  );
};

// QEMU's versioned names of q35 are pc-q35-7.2 and the like.
function isQ35(machineType: string | undefined): boolean {
  return machineType === 'q35' || machineType?.startsWith('pc-q35-') === true;
}

/** Rules for devices that need another field. */
export const deviceRules: readonly Rule[] = [
  virtioFsNeedsDaemon,
  vhostUserNeedsHugePages,
  iommuNeedsQ35,
  rootPortsNeedPcie,
];
