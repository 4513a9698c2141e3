import type { HypervisorConfig } from '../../config/vm-config.ts';
import { assetPath } from '../../config/assets.ts';
import { isPmem, type Placed } from './devices.ts';

/*
 * Firecracker gives each device the lowest free number on the guest's one PCI bus: at the boot in a fixed order (`build_microvm_for_boot`
 * in its sources), later as they come. Its API does not tell the numbers.
 */

/** The host bridge has the first. */
const firstSlot = 1;

/** The devices with the numbers that they have got at the boot. */
export function withSlots(devices: readonly Placed[], config: HypervisorConfig): Placed[] {
  const ranks = devices.map((placed) => rank(placed, config));
  // The balloon comes first, a root disk before the other disks.
  const before = [config.reclaimGuestFreedMemory, assetPath(config, 'image') !== undefined].filter(Boolean).length;
  return devices.map((placed, at) => {
    const own = ranks[at] ?? 0;
    const earlier = ranks.filter((other, index) => other < own || (other === own && index < at)).length;
    return { ...placed, slot: firstSlot + before + earlier };
  });
}

/** The number that the next device gets. @param cold how many devices there were at the boot, ours included */
export function nextSlot(devices: readonly Placed[], config: HypervisorConfig, cold: readonly Placed[]): number {
  const fixed = fixedSlots(config, cold);
  const taken = new Set([...fixed, ...devices.map(({ slot }) => slot)]);
  let slot = firstSlot;
  while (taken.has(slot)) slot++;
  return slot;
}

/** Where the guest finds a device, such as `0000:00:05.0`. */
export function pciAddress(slot: number): string {
  return `0000:00:${slot.toString(16).padStart(2, '0')}.0`;
}

/** Numbers of what is never taken away: balloon, root disk; after the devices the vsock, the entropy device and the memory. */
function fixedSlots(config: HypervisorConfig, cold: readonly Placed[]): number[] {
  const before = [config.reclaimGuestFreedMemory, assetPath(config, 'image') !== undefined].filter(Boolean).length;
  const after = config.virtioMem ? 3 : 2;
  const head = Array.from({ length: before }, (_, at) => firstSlot + at);
  return [...head, ...Array.from({ length: after }, (_, at) => firstSlot + before + cold.length + at)];
}

function rank({ device }: Placed, config: HypervisorConfig): number {
  if (device.kind === 'net') return 1;
  return isPmem(device, config) ? 2 : 0;
}
