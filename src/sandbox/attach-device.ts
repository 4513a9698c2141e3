import { type CallOptions, inScope } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import type { DeviceKind } from '../hypervisors/device.ts';
import type { PluggedDevice } from '../hypervisors/hypervisor.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { changeAttached } from './attached.ts';
import { type AttachedDevice, deviceOf, type DeviceSpec } from './device-spec.ts';
import { clearInGuest, setUpInGuest } from './guest-devices.ts';
import type { HeldVm } from './held-vm.ts';

/** A device that was attached, and where it is found. */
export interface AttachResult extends PluggedDevice {
  /** for `detachDevice` */
  id: string;
  kind: DeviceKind;
  /** where the guest has mounted a folder */
  mountAt?: string | undefined;
}

/** Milliseconds for all of it, when the caller gives no limit. */
const attachMs = 60_000;

/**
 * Gives a running VM a device; resolves when the guest has it, with its folder mounted or its network set up. Nothing of it is left when
 * that fails.
 * @throws {VmError} INVALID_ARGUMENT, INVALID_CONFIG, INVALID_STATE, UNSUPPORTED, FILE_*, PERMISSION, HOST_MISSING, BUSY, AGENT_FAILED, TIMEOUT,
 *   ABORTED, VMM_FAILED
 */
export async function attachDevice(
  held: HeldVm,
  agent: GuestAgent,
  spec: DeviceSpec,
  options: CallOptions,
): Promise<AttachResult> {
  return attach(held, agent, deviceOf(spec), options);
}

/** The same of a device that has its id already. */
export async function attach(
  held: HeldVm,
  agent: GuestAgent,
  attached: AttachedDevice,
  options: CallOptions,
): Promise<AttachResult> {
  const { device, mountAt } = attached;
  await requireGuestFor(held, attached);
  return inScope(`attach of ${device.id}`, { ...options, timeoutMs: options.timeoutMs ?? attachMs }, async (call) => {
    await held.locate();
    return changeAttached(held.context.stateFolder, call, async (before) => {
      const found = await held.hypervisor.hotplugAddDevice(device, call);
      try {
        await setUpInGuest(agent, attached, held.context.config, call);
      } catch (error) {
        await held.hypervisor.hotplugRemoveDevice(device);
        throw error;
      }
      const result = { id: device.id, kind: device.kind, ...found, ...(mountAt === undefined ? {} : { mountAt }) };
      return { devices: [...before, attached], result };
    });
  });
}

/**
 * Takes a device from a running VM; resolves when the guest has let go of it.
 * @param agent of the guest, which is asked to unmount a folder first
 * @throws {VmError} INVALID_ARGUMENT when there is no such device; GUEST_REFUSED when the guest uses it; UNSUPPORTED, TIMEOUT, ABORTED
 */
export async function detachDevice(held: HeldVm, agent: GuestAgent, id: string, options: CallOptions): Promise<void> {
  await inScope(`detach of ${id}`, { ...options, timeoutMs: options.timeoutMs ?? attachMs }, async (call) => {
    await held.locate();
    await changeAttached(held.context.stateFolder, call, async (before) => {
      const attached = before.find(({ device }) => device.id === id);
      if (attached === undefined) {
        const ids = before.map(({ device }) => device.id);
        throw new VmError('INVALID_ARGUMENT', `${held.name} has no device ${id}`, {
          field: 'id',
          advice: ids.length === 0 ? 'Nothing was attached to it.' : `It has ${ids.join(', ')}.`,
        });
      }
      await clearInGuest(agent, attached, call);
      await held.hypervisor.hotplugRemoveDevice(attached.device, call);
      return { devices: before.filter((other) => other !== attached), result: undefined };
    });
  });
}

/** A guest that is this host must not be asked to change it. @throws {VmError} UNSUPPORTED */
async function requireGuestFor({ hypervisor }: HeldVm, { mountAt }: AttachedDevice): Promise<void> {
  if (mountAt === undefined || (await loadDriver(hypervisor.type)).bootsGuest) return;
  throw new VmError('UNSUPPORTED', `mountAt is not supported on ${hypervisor.type}: its guest is this host`, {
    field: 'mountAt',
  });
}
