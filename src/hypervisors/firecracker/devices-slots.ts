import type { HypervisorConfig } from '../../config/vm-config.ts';
import { assetPath } from '../../config/assets.ts';
import { isPmem, type Placed, poolSize } from './devices.ts';
import { hasPool } from './plan.ts';

/*
 * Firecracker gives each device the lowest free number on the guest's one PCI bus: at the boot in a fixed order (`build_microvm_for_boot`
 * in its sources), later as they come. Its API does not tell the numbers.
 */

/** The host bridge has the first. */
const firstSlot = 1;

/** The devices with the numbers that they have got at the boot. */
export function withSlots(devices: readonly Placed[], config: HypervisorConfig): Placed[] {
  const ranks = devices.map((placed) => rank(placed, config));
  return devices.map((placed, at) => {
    const own = ranks[at] ?? 0;
    const earlier = ranks.filter((other, index) => other < own || (other === own && index < at)).length;
    // The drives of the pool come after the other disks.
    return { ...placed, slot: firstSlot + headSize(config) + earlier + (own > 0 ? pooled(config) : 0) };
  });
}

/** The number that the next device gets. @param reserved those of devices that stay, as `reservedSlots` said at the boot */
export function nextSlot(devices: readonly Placed[], reserved: readonly number[]): number {
  const taken = new Set([...reserved, ...devices.map(({ slot }) => slot)]);
  let slot = firstSlot;
  while (taken.has(slot)) slot++;
  return slot;
}

/** Where the guest finds a device, such as `0000:00:05.0`. */
export function pciAddress(slot: number): string {
  return `0000:00:${slot.toString(16).padStart(2, '0')}.0`;
}

/** Numbers of what is never taken away: balloon, root disk, the pool; after the devices of the boot the vsock, the entropy device, the memory. */
export function reservedSlots(cold: readonly Placed[], config: HypervisorConfig): number[] {
  const tail = config.virtioMem ? 3 : 2;
  const count = headSize(config) + cold.length + pooled(config) + tail;
  const taken = new Set(withSlots(cold, config).map(({ slot }) => slot));
  return Array.from({ length: count }, (_, at) => firstSlot + at).filter((slot) => !taken.has(slot));
}

/** The balloon comes first, a root disk before the other disks. */
function headSize(config: HypervisorConfig): number {
  return [config.reclaimGuestFreedMemory, assetPath(config, 'image') !== undefined].filter(Boolean).length;
}

function pooled(config: HypervisorConfig): number {
  return hasPool(config) ? poolSize : 0;
}

function rank({ device }: Placed, config: HypervisorConfig): number {
  if (device.kind === 'net') return 1;
  return isPmem(device, config) ? 2 : 0;
}
