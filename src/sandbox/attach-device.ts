import { assetPath } from '../config/assets.ts';
import { type CallOptions, inScope } from '../config/call-options.ts';
import { VmError } from '../errors.ts';
import type { GuestAgent } from '../guest/agent.ts';
import type { DeviceKind, FsDevice } from '../hypervisors/device.ts';
import type { PluggedDevice } from '../hypervisors/hypervisor.ts';
import { loadDriver } from '../hypervisors/registry.ts';
import { changeAttached } from './attached.ts';
import { bringBackThese, type BroughtBack, noticesOf } from './bring-back.ts';
import { bringIn } from './bring-in.ts';
import { asAttached, asCopied, type CopiedFolder, requireFolder, sharesFolders } from './copied-folders.ts';
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
  /** the VMM shares no folders: the guest has the files of this one */
  copied?: 'files' | undefined;
}

/** How a device is taken away. */
export interface DetachOptions extends CallOptions {
  /** hears what a user should know: of files in a copied folder that have changed on both sides */
  onNotice?: ((notice: string) => void) | undefined;
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
  if (await isToBeCopied(held, attached)) return attachCopy(held, agent, attached, options);
  await requireGuestFor(held, attached);
  return inTime(`attach of ${device.id}`, options, async (call) => {
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
export async function detachDevice(
  held: HeldVm,
  agent: GuestAgent,
  id: string,
  { onNotice, ...options }: DetachOptions,
): Promise<void> {
  await inTime(`detach of ${id}`, options, async (call) => {
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
      if (attached.copied !== undefined) {
        const back = await letCopyGo(held, agent, attached, call);
        if (back !== undefined) for (const notice of noticesOf(back)) onNotice?.(notice);
        return { devices: before.filter((other) => other !== attached), result: undefined };
      }
      await clearInGuest(agent, attached, call);
      await held.hypervisor.hotplugRemoveDevice(attached.device, call);
      return { devices: before.filter((other) => other !== attached), result: undefined };
    });
  });
}

/** Whether it is a folder for a guest whose VMM shares none. Who names a way of sharing is told that it isn't there. */
async function isToBeCopied({ hypervisor, context }: HeldVm, { device, mountAt }: AttachedDevice): Promise<boolean> {
  if (device.kind !== 'fs' || mountAt === undefined || device.driver !== undefined) return false;
  const hasRoot = assetPath(context.config, 'image') !== undefined;
  return !sharesFolders(await loadDriver(hypervisor.type), hasRoot);
}

/** Gives the guest the files of a folder. One that fails may leave some of them there. */
async function attachCopy(
  held: HeldVm,
  agent: GuestAgent,
  { device, mountAt }: AttachedDevice,
  options: CallOptions,
): Promise<AttachResult> {
  const { id, kind, readOnly, path } = device as FsDevice;
  const folder: CopiedFolder = { id, path, mountAt: mountAt as string, readOnly, as: 'files' };
  await requireFolder(device as FsDevice);
  return inTime(`attach of ${id}`, options, async (call) => {
    await held.locate();
    return changeAttached(held.context.stateFolder, call, async (before) => {
      const taken = before.find((other) => other.device.id === id || other.mountAt === mountAt);
      if (taken !== undefined)
        throw new VmError('INVALID_ARGUMENT', `${held.name} has ${taken.device.id} at ${taken.mountAt} already`, {
          field: taken.device.id === id ? 'id' : 'mountAt',
        });
      await bringIn(held.context.stateFolder, agent, [folder], call);
      return { devices: [...before, asAttached(folder)], result: { id, kind, mountAt, copied: 'files' } };
    });
  });
}

/** Takes back what the guest wrote to its copy, which it keeps. */
async function letCopyGo(
  held: HeldVm,
  agent: GuestAgent,
  attached: AttachedDevice,
  call: CallOptions,
): Promise<BroughtBack | undefined> {
  const folder = asCopied(attached) as CopiedFolder;
  if (folder.as === 'image')
    throw new VmError('UNSUPPORTED', `the image of ${folder.path} is there as long as the VM runs`, {
      operation: 'detach',
    });
  if (!folder.readOnly) return bringBackThese(held, agent, [folder], call);
  await clearInGuest(agent, attached, call);
  return undefined;
}

/** A guest that is this host must not be asked to change it. @throws {VmError} UNSUPPORTED */
async function requireGuestFor({ hypervisor }: HeldVm, { mountAt }: AttachedDevice): Promise<void> {
  if (mountAt === undefined || (await loadDriver(hypervisor.type)).bootsGuest) return;
  throw new VmError('UNSUPPORTED', `mountAt is not supported on ${hypervisor.type}: its guest is this host`, {
    field: 'mountAt',
  });
}

/** The work, within the caller's time or ours. */
function inTime<T>(what: string, options: CallOptions, work: (call: CallOptions) => Promise<T>): Promise<T> {
  return inScope(what, { ...options, timeoutMs: options.timeoutMs ?? attachMs }, work);
}
