import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { VmContext } from '../hypervisor.ts';
import { sharesMemory } from './devices.ts';
import { deviceArgument, object, type Properties } from './devices-parts.ts';
import { machineFamily, type MachineFamily } from './devices-place.ts';

const mib = 2 ** 20;

/** The device that memory is resized with when `virtioMem` is set. */
export const virtioMemId = 'virtiomem0';

/** Where huge pages are files (Documentation/admin-guide/mm/hugetlbpage.rst in Linux). */
const hugePagesFolder = '/dev/hugepages';

/**
 * What QEMU itself calls the memory of a machine for which no other was made. Others have the same name, so that what is saved of one
 * can be restored into the other.
 */
const mainMemory: Readonly<Record<MachineFamily, string>> = {
  pc: 'pc.ram',
  q35: 'pc.ram',
  microvm: 'microvm.ram',
  virt: 'mach-virt.ram',
};

/** The memory that the VM starts with, its NUMA nodes, and what it can grow to. */
export function memoryArguments({ config, hostMemoryMiB }: VmContext): string[] {
  const maximum = hostMemoryMiB + (config.memoryOffsetMiB ?? 0);
  // A microvm has no slots for memory modules, and refuses to hear of them.
  const growth = config.machineType === 'microvm' ? '' : `,slots=${config.memorySlots},maxmem=${maximum}M`;
  return [
    ...['-m', `size=${config.memoryMiB}M${growth}`],
    ...nodes(config),
    // Locked by QEMU itself: memory plugged later is locked too.
    ...(config.realtime && config.mlock ? ['-overcommit', 'mem-lock=on'] : []),
  ];
}

/** The device that gives and takes memory in small pieces; it takes nothing of the host until it is asked to. */
export function virtioMemArguments({ config, hostMemoryMiB }: VmContext): string[] {
  if (!config.virtioMem) return [];
  // Its size must be a multiple of what the guest adds memory by.
  const sizeMiB = Math.floor((hostMemoryMiB - config.memoryMiB) / 128) * 128;
  const id = `${virtioMemId}-memory`;
  return [
    ...object({ ...backend(config, id, sizeMiB), prealloc: false, reserve: false }),
    ...deviceArgument({ driver: 'virtio-mem-pci', id: virtioMemId, memdev: id, 'requested-size': 0 }),
  ];
}

/** A balloon that nobody inflates: by it the guest tells which of its pages are free. */
export function balloonArguments({ reclaimGuestFreedMemory }: HypervisorConfig): string[] {
  if (!reclaimGuestFreedMemory) return [];
  return deviceArgument({ driver: 'virtio-balloon-pci', id: 'balloon0', 'free-page-reporting': true });
}

/** What holds a piece of the guest's memory on the host. */
export function backend(
  config: HypervisorConfig,
  id: string,
  sizeMiB: number,
): Properties & { 'qom-type': string; id: string } {
  const folder = config.hugePages ? hugePagesFolder : config.fileBackedMemRootDir;
  const common = { id, size: sizeMiB * mib, prealloc: config.memPrealloc };
  if (folder !== undefined) return { 'qom-type': 'memory-backend-file', ...common, 'mem-path': folder, share: true };
  if (sharesMemory(config)) return { 'qom-type': 'memory-backend-memfd', ...common, share: true };
  return { 'qom-type': 'memory-backend-ram', ...common };
}

function nodes(config: HypervisorConfig): string[] {
  if (config.bootToBeTemplate || config.bootFromTemplate) return templateMemory(config);
  if (config.numaMapping.length > 0) return numaNodes(config);
  const plain = !config.hugePages && !config.memPrealloc && config.fileBackedMemRootDir === undefined;
  if (plain && !sharesMemory(config)) return [];
  const id = mainMemory[machineFamily(config.machineType)];
  return [...object(backend(config, id, config.memoryMiB)), '-machine', `memory-backend=${id}`];
}

/** A file: the template fills it, and a clone sees it through a private mapping, of which each page that it writes becomes its own. */
function templateMemory({ machineType, memoryMiB, memoryPath, bootToBeTemplate }: HypervisorConfig): string[] {
  const id = mainMemory[machineFamily(machineType)];
  const file = { 'mem-path': memoryPath ?? '', share: bootToBeTemplate };
  return [
    ...object({ 'qom-type': 'memory-backend-file', id, size: memoryMiB * mib, ...file }),
    ...['-machine', `memory-backend=${id}`],
  ];
}

/** One node of the guest for each entry: an equal share of memory, bound to those nodes of the host, and of vCPUs, as a socket. */
function numaNodes(config: HypervisorConfig): string[] {
  const { numaMapping, memoryMiB } = config;
  return numaMapping.flatMap((hostNodes, node) => {
    const id = `memory${node}`;
    const bound = { 'host-nodes': listOf(hostNodes), policy: 'bind' };
    return [
      ...object({ ...backend(config, id, memoryMiB / numaMapping.length), ...bound }),
      ...['-numa', `node,nodeid=${node},memdev=${id}`],
      ...['-numa', `cpu,node-id=${node},socket-id=${node}`],
    ];
  });
}

/** The numbers of a list such as `0-2,5`. */
function listOf(text: string): number[] {
  return text.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}
