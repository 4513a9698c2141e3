import { randomInt } from 'node:crypto';
import { VmError } from '../../errors.ts';
import type { NamedDevice } from '../device.ts';
import type { Placed } from './devices-place.ts';
import { isContextIdTaken } from './errors.ts';

/*
 * Context ids of vsocks. Only the kernel knows which ones are taken, by VMs of other programs too, and it gives each to one VM: to set it
 * is to lock it. Where the id is ours to choose, another one is tried.
 */

/** 0 to 2 are the hypervisor's, the loopback's and the host's (vsock(7)). */
const firstContextId = 3;
/** They are drawn from 2^31: the second is hardly ever needed. */
const tries = 8;

/** Chooses an id; in one place, so that tests can have it choose one that is taken. */
export const contextIds: { choose(): number } = { choose: () => randomInt(firstContextId, 2 ** 31) };

/** Plugs a device; a vsock that was given no id gets another one each time. @throws {VmError} what `plug` throws; BUSY when none was free */
export async function pluggedWithFreeId<T>(device: NamedDevice, plug: () => Promise<T>): Promise<T> {
  for (let left = device.kind === 'vsock' && device.contextId === undefined ? tries : 1; ; left--) {
    try {
      return await plug();
    } catch (error) {
      const { code, rawMessage } = VmError.from(error);
      if (left === 1 || code !== 'BUSY' || !rawMessage.includes('guest cid')) throw error;
    }
  }
}

/**
 * Starts a VM with devices; a vsock whose id was chosen here gets another one when QEMU ends over it.
 * @param start is given the devices, others than those that were given from the second time on
 * @throws {VmError} what `start` throws at last
 */
export async function startedWithFreeId<T>(
  given: readonly Placed[],
  start: (devices: readonly Placed[]) => Promise<T>,
): Promise<T> {
  let devices = given;
  for (let left = given.some(({ idChosen }) => idChosen === true) ? tries : 1; ; left--) {
    try {
      return await start(devices);
    } catch (error) {
      if (left === 1 || !isContextIdTaken(error)) throw error;
      devices = devices.map(withAnotherId);
    }
  }
}

function withAnotherId(placed: Placed): Placed {
  const { device, idChosen } = placed;
  if (device.kind !== 'vsock' || idChosen !== true) return placed;
  return { ...placed, device: { ...device, contextId: contextIds.choose() } };
}
