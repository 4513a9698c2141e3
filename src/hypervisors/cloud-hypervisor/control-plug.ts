import { rm } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { callScope } from '../../config/call-options.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import type { Device } from '../device.ts';
import { groupNode, onHost } from '../device-host.ts';
import { checkAmong, checkDevice } from '../device-rules.ts';
import { FsDaemon } from '../fs-daemon.ts';
import type { VmContext } from '../hypervisor.ts';
import { concealAll, withShown } from '../shown-paths.ts';
import type { VmmProcess } from '../vmm-process.ts';
import type { CloudHypervisorControl } from './control.ts';
import { untilEvent } from './control-events.ts';
import { type OwnDevice, partOf, pathsOf, requireOffered } from './devices.ts';
import { landlockRules } from './plan-params.ts';
import { vmmFiles } from '../../state/paths.ts';

/** Milliseconds for a guest to take a device, or to let go of one, when the caller gives no limit. */
const plugMs = 30_000;

/**
 * Everything that can be said of a device before Cloud Hypervisor is asked.
 * @throws {VmError} INVALID_ARGUMENT, UNSUPPORTED, FILE_*, PERMISSION, HOST_MISSING
 */
export async function looked(
  { config, networkNamespace, runtimeFolder }: VmContext,
  present: readonly OwnDevice[],
  device: Device,
): Promise<OwnDevice> {
  checkDevice(device);
  requireOffered(device, config);
  const real = await onHost(device, { config, networkNamespace });
  const path = real.kind === 'vhost-user' ? real.socket : real.kind === 'block' || real.kind === 'fs' ? real.path : '';
  if (path.startsWith(`${runtimeFolder}/`)) {
    throw new VmError('INVALID_ARGUMENT', `${path} is in the folder of the VMM, which the guest must not get`, {
      field: 'path',
      path,
    });
  }
  checkAmong(present, real);
  return real.kind === 'vfio' ? { ...real, node: await groupNode(real) } : real;
}

/** Starts the process behind a device that has one. */
export async function startDaemon(
  device: OwnDevice,
  context: VmContext,
  call: CallOptions,
): Promise<FsDaemon | undefined> {
  if (device.kind !== 'fs') return undefined;
  const socket = vmmFiles.deviceSocket(context.runtimeFolder, device.id);
  return FsDaemon.start(device, { ...context, socket }, call);
}

/** A Cloud Hypervisor that runs, and how it is asked. */
export interface LiveScope {
  context: VmContext;
  vmm: VmmProcess;
  control: CloudHypervisorControl;
}

/**
 * Gives a device to a running guest; resolves with its PCI address when the guest drives it.
 * @throws {VmError} VMM_FAILED with Cloud Hypervisor's words; GUEST_REFUSED when the guest does not take it, which then is asked to let go;
 *   PERMISSION, HOST_MISSING, IO when a confined VMM can't be shown it
 */
export async function plug(
  { context, vmm, control }: LiveScope,
  device: OwnDevice,
  options: CallOptions,
): Promise<{ guestPath: string }> {
  const part = partOf(device, context);
  const scope = callScope(`hot-plug of ${device.id}`, { timeoutMs: plugMs, ...options });
  const call = { signal: scope.signal };
  let added = false;
  const add = async (): Promise<{ guestPath: string }> => {
    const { bdf } = await control.addDevice(part, call);
    added = true;
    return { guestPath: bdf };
  };
  const active = (event: { event: string; properties: Record<string, string> | null }): boolean =>
    event.event === 'activated' && event.properties?.['id'] === device.id;
  const daemon = await startDaemon(device, context, call);
  try {
    const shown = { paths: pathsOf(device), locksMemory: device.kind === 'vfio' };
    return await withShown(vmm, shown, call, async (seen) => {
      await seen;
      try {
        if (isSilent(device)) return await add();
        const result = await untilEvent(context.runtimeFolder, active, call, add);
        await daemon?.letGo();
        return result;
      } catch (error) {
        if (added) await control.removeDevice(device.id).catch(() => undefined);
        throw underLandlock(error, context.config);
      }
    });
  } catch (error) {
    await daemon?.end();
    if (added && options.signal?.aborted !== true && scope.signal.aborted)
      throw new VmError('GUEST_REFUSED', `the guest did not take the device ${device.id}: it may lack the driver`, {
        operation: 'hotplugAddDevice',
        cause: error,
      });
    scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}

/** Cloud Hypervisor says no more than that the kernel refuses it a file. */
function underLandlock(error: unknown, config: HypervisorConfig): unknown {
  if (landlockRules(config) === undefined || !/Permission denied/.test(VmError.from(error).rawMessage)) return error;
  const advice = 'Landlock lets this VM open what `landlock-rules` named when it was made: add a rule for this path.';
  return VmError.from(error).with({ advice });
}

/**
 * Whether no event tells that a guest drives a device: none is of what is not virtio, and of vhost-user only folders have one (the others'
 * `activate` in virtio-devices/src/vhost_user of its sources, 53.0, says nothing).
 */
function isSilent(device: OwnDevice): boolean {
  return device.kind === 'vfio' || (device.kind === 'vhost-user' && device.type !== 'fs');
}

/**
 * Takes a device from a running guest; resolves when the guest has let go of it.
 * @throws {VmError} GUEST_REFUSED when it does not, VMM_FAILED
 */
export async function unplug(
  { context, vmm, control }: LiveScope,
  device: OwnDevice,
  options: CallOptions,
): Promise<void> {
  const { id } = device;
  const scope = callScope(`removal of ${id}`, { timeoutMs: plugMs, ...options });
  try {
    const call = { signal: scope.signal };
    const gone = (event: { event: string; properties: Record<string, string> | null }): boolean =>
      event.event === 'device-removed' && event.properties?.['id'] === id;
    await untilEvent(context.runtimeFolder, gone, call, () => control.removeDevice(id, call));
    // That is told before it is done: a device of the host is looked up once more when it is closed, in the course of which nobody is told
    // anything about devices (`eject_device` in its device_manager.rs, `Drop` of a device in vfio-ioctls).
    await control.counters(call);
    // Its daemon has ended with the connection, and left its socket.
    if (device.kind === 'fs') await rm(vmmFiles.deviceSocket(context.runtimeFolder, id), { force: true });
    await concealAll(vmm, pathsOf(device));
  } catch (error) {
    if (scope.signal.aborted && options.signal?.aborted !== true)
      throw new VmError('GUEST_REFUSED', `the guest did not let go of the device ${id}`, {
        operation: 'hotplugRemoveDevice',
        cause: error,
      });
    scope.throwIfEnded();
    throw error;
  } finally {
    scope.release();
  }
}
