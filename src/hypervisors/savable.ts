import { VmError } from '../errors.ts';
import type { Device, DeviceKind, NamedDevice } from './device.ts';

/**
 * Makes sure that what is saved of a VM is all of it. A snapshot holds no disks: one that the guest may write is another one as soon as
 * the VM goes on, and a guest that is restored would find it changed behind its back.
 * @param carried kinds of devices that the VMM saves and brings back
 * @throws {VmError} UNSUPPORTED, naming every device that stands in the way
 */
export function requireSavable(devices: readonly Device[], carried: ReadonlySet<DeviceKind>): void {
  const named = devices.filter((device): device is NamedDevice => device.kind !== 'cpu' && device.kind !== 'memory');
  const writable = named.filter((device) => device.kind === 'block' && !device.readOnly && carried.has('block'));
  const lost = named.filter(({ kind }) => !carried.has(kind));
  const reasons = [
    ...writable.map(({ id }) => `the guest may write to the disk ${id}, and a snapshot holds no disks`),
    ...lost.map(({ id, kind }) => `the state of ${id} (${kind}) can't be saved`),
  ];
  if (reasons.length === 0) return;
  const ids = [...writable, ...lost].map(({ id }) => id);
  throw new VmError('UNSUPPORTED', reasons.join('; '), {
    operation: 'save',
    advice: `Unplug ${ids.join(', ')} first${writable.length > 0 ? '; a disk can be plugged again as one that is only read' : ''}.`,
  });
}
