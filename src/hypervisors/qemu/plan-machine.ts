import { createHash } from 'node:crypto';
import { assetPath } from '../../config/assets.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { VmContext } from '../hypervisor.ts';
import { deviceArgument, quoted } from './devices-parts.ts';
import { machineFamily, type MachineFamily } from './devices-place.ts';

/** The device that holds the machine's generation id. */
const generationId = 'genid0';

/** What is on each machine's board. Whatever the guest would find and initialise for nothing is off. */
const boards: Readonly<Record<MachineFamily, string>> = {
  pc: 'usb=off,vmport=off,hpet=off,graphics=off',
  q35: 'usb=off,vmport=off,hpet=off,graphics=off,sata=off',
  microvm: 'rtc=on,pic=on,pit=on,isa-serial=on,pcie=off,usb=off',
  virt: 'usb=off',
};

/** Machine, accelerator and vCPUs. */
export function machineArguments(context: VmContext): string[] {
  const { config, accel } = context;
  const kind = machineFamily(config.machineType);
  const options = [
    config.machineType ?? 'q35',
    boards[kind],
    // Newest first: under KVM the host's own, under TCG the best that is emulated.
    ...(kind === 'virt' ? [`gic-version=${accel === 'kvm' ? 'host' : 'max'}`] : []),
    // By ACPI the guest finds its devices, but then it has no timer to measure the others by: under KVM it needs none.
    ...(kind === 'microvm' ? [`acpi=${accel === 'kvm' ? 'on' : 'off'}`] : []),
    ...(config.iommu && accel === 'kvm' ? ['kernel-irqchip=split'] : []),
    'mem-merge=on,dump-guest-core=off',
    ...(config.blockDeviceDriver === 'nvdimm' ? ['nvdimm=on'] : []),
    ...config.machineAccelerators,
  ];
  return [
    ...['-machine', options.join(',')],
    ...['-accel', accel === 'tcg' ? 'tcg,thread=multi' : 'kvm'],
    ...['-cpu', cpu(context, kind)],
    ...['-smp', topology(config)],
    ...flash(config),
  ];
}

/** The IOMMU of q35, in front of every device that it is to translate for. */
export function iommuArguments(config: HypervisorConfig): string[] {
  if (!config.iommu) return [];
  return deviceArgument({ driver: 'intel-iommu', intremap: 'on', 'device-iotlb': true, 'caching-mode': true });
}

/** With a dump to be made, a guest that panics says so by a device of its own, where its kernel has a driver for it, and stays. */
export function panicArguments({ guestMemoryDumpPath, machineType }: HypervisorConfig): string[] {
  if (guestMemoryDumpPath === undefined) return [];
  const family = machineFamily(machineType);
  const stay = ['-action', 'panic=pause'];
  if (family === 'microvm') return stay;
  return [...stay, ...deviceArgument({ driver: family === 'virt' ? 'pvpanic-pci' : 'pvpanic' })];
}

/**
 * A number that is another one in every VM. A guest that goes on in another VM than before is told at once, and a kernel with a driver for it
 * (CONFIG_VMGENID, Linux 5.18) reseeds its random generator.
 */
export function generationArguments({ config, id }: Pick<VmContext, 'config' | 'id'>): string[] {
  const family = machineFamily(config.machineType);
  // QEMU has it for machines with ACPI tables of a PC's kind (docs/specs/vmgenid.rst).
  if (family !== 'pc' && family !== 'q35') return [];
  const digits = createHash('sha256').update(`polyvisor generation ${id}`).digest('hex').slice(0, 32);
  const guid = digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  return deviceArgument({ driver: 'vmgenid', id: generationId, guid });
}

/**
 * TCG offers all it can emulate but `erms`: with that flag kernel and C library copy by `rep movsb`, which is emulated byte by byte
 * and takes three times as long as the other way. `fsrm`, which TCG has since QEMU 9, is nothing without it: Linux then leaves out a check of its
 * `memmove` (arch/x86/lib/memmove_64.S) and hangs. On arm64 the kernel signs its return addresses, for which TCG has a cheap way beside the
 * architected cipher (QEMU's docs/system/arm/cpu-features.rst, `pauth-impdef`).
 */
function cpu({ config, accel }: VmContext, kind: MachineFamily): string {
  const emulated = kind === 'virt' ? 'max,pauth-impdef=on' : 'max,-erms,-fsrm';
  return [config.cpuModel ?? (accel === 'kvm' ? 'host' : emulated), ...config.cpuFeatures].join(',');
}

/** With NUMA each node is a socket, so that the guest's scheduler sees what belongs together. */
function topology({ vcpus, maxVcpus, numaMapping }: HypervisorConfig): string {
  const sockets = numaMapping.length;
  const shape = sockets === 0 ? '' : `,sockets=${sockets},cores=${maxVcpus / sockets},threads=1`;
  return `cpus=${vcpus},maxcpus=${maxVcpus}${shape}`;
}

/** Firmware in flash: its code read-only, its variables (in the second file) writable. */
function flash({ pflash }: HypervisorConfig): string[] {
  return pflash.flatMap((path, unit) => [
    '-drive',
    `if=pflash,unit=${unit},format=raw,readonly=${unit === 0 ? 'on' : 'off'},file=${quoted(path)}`,
  ]);
}

export function firmwareArguments(config: HypervisorConfig): string[] {
  const firmware = assetPath(config, 'firmware');
  return firmware === undefined ? [] : ['-bios', firmware];
}
