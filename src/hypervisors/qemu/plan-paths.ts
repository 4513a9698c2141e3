import { assetPath } from '../../config/assets.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { VmContext } from '../hypervisor.ts';
import type { LaunchPlan, PlannedPath } from '../launch-plan.ts';
import { pathsOf, sharesMemory } from './devices.ts';
import type { Placed } from './devices-place.ts';

/** Where distributions keep what QEMU loads by itself: firmware, option ROMs and key tables, and what these link to. */
const firmwareFolders = ['qemu', 'seabios', 'ipxe', 'qboot', 'ovmf', 'OVMF', 'AAVMF', 'edk2', 'qemu-efi-aarch64'].map(
  (name) => `/usr/share/${name}`,
);

const mib = 2 ** 20;

/** What QEMU opens beside its own folder, its program and that one's libraries, and the largest file that it makes. Pure. */
export function opened(
  context: VmContext,
  binary: string,
  devices: readonly Placed[],
): Pick<LaunchPlan, 'paths' | 'largestFileBytes' | 'lockMemory'> {
  const { config, accel } = context;
  const read = [
    assetPath(config, 'kernel'),
    assetPath(config, 'initrd'),
    assetPath(config, 'firmware'),
    config.pflash[0],
  ];
  // A QEMU that was built from source has its own beside its bin folder.
  const own = `${binary.split('/').slice(0, -2).join('/')}/share/qemu`;
  return {
    paths: [
      ...read.flatMap((path): PlannedPath[] => (path === undefined ? [] : [{ path, access: 'read' }])),
      ...devices.flatMap((placed) => pathsOf(placed, config)),
      ...config.pflash.slice(1).map((path): PlannedPath => ({ path, access: 'write' })),
      { path: config.entropySource, access: 'read' },
      ...(accel === 'kvm' ? [{ path: '/dev/kvm', access: 'write' } as const] : []),
      ...(config.fileBackedMemRootDir === undefined || config.hugePages
        ? []
        : [{ path: config.fileBackedMemRootDir, access: 'write' } as const]),
      // Also where it is only read: QEMU before 8.2 opens it for writing although it maps it privately.
      ...(config.memoryPath === undefined ? [] : [{ path: config.memoryPath, access: 'write' } as const]),
      // It asks there whether memory that nobody has reserved may be promised.
      ...(config.virtioMem ? [{ path: '/proc/sys/vm/overcommit_memory', access: 'read' } as const] : []),
      ...[...new Set([own, ...firmwareFolders])].map((path): PlannedPath => ({ path, access: 'read', optional: true })),
    ],
    largestFileBytes: Math.max(
      hasMemoryFile(config) ? context.hostMemoryMiB * mib : 0,
      ...devices.map(({ sizeBytes = 0 }) => sizeBytes),
    ),
    // A device that is handed through writes into the guest's memory, which must stay where it is.
    lockMemory:
      (config.realtime && config.mlock) ||
      config.hotplugVfioOnRootBus ||
      devices.some(({ device }) => device.kind === 'vfio'),
  };
}

/** Guest memory in files, anonymous ones included, may grow to all that the host has. */
function hasMemoryFile(config: HypervisorConfig): boolean {
  const { hugePages, fileBackedMemRootDir, bootToBeTemplate } = config;
  return bootToBeTemplate || hugePages || fileBackedMemRootDir !== undefined || sharesMemory(config);
}
