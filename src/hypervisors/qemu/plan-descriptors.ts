import { freeDescriptors } from '../../confinement/through.ts';
import { VmError } from '../../errors.ts';
import type { OpenDescriptor } from '../launch-plan.ts';
import type { Placed } from './devices-place.ts';

/** What a QEMU that is started inherits open, since it can't open it by a name. */
export interface InheritedFiles {
  descriptors: readonly OpenDescriptor[];
  /** their numbers by the id of the device that they are for */
  numbers: ReadonlyMap<string, readonly number[]>;
}

/**
 * The queues of macvtaps: each is one opening of the macvtap's node. Pure.
 * @throws {VmError} BUSY for more than there are numbers
 */
export function inherited(devices: readonly Placed[]): InheritedFiles {
  const descriptors: OpenDescriptor[] = [];
  const numbers = new Map<string, number[]>();
  for (const { device, node } of devices) {
    if (node === undefined || device.kind !== 'net') continue;
    const own: number[] = [];
    for (let queue = 0; queue < (device.queues ?? 1); queue++) {
      const number = freeDescriptors[descriptors.length];
      if (number === undefined) {
        const most = freeDescriptors.length;
        throw new VmError('BUSY', `a VM starts with ${most} queues of macvtaps at most`, {
          field: 'queues',
          advice: 'Attach the others once it runs.',
        });
      }
      descriptors.push({ number, path: node });
      own.push(number);
    }
    numbers.set(device.id, own);
  }
  return { descriptors, numbers };
}
