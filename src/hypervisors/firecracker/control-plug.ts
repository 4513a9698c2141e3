import { stat } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { VmError } from '../../errors.ts';
import { type Device, deviceId } from '../device.ts';
import { onHost } from '../device-host.ts';
import { checkAmong, checkDevice } from '../device-rules.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { VmContext } from '../hypervisor.ts';
import { concealAll, type ShownDevice, withShown } from '../shown-paths.ts';
import type { VmmProcess } from '../vmm-process.ts';
import type { FirecrackerControl } from './control.ts';
import { allowFileSize, insert, requireVisible, takeOut, type WorkFolder } from './control-jail.ts';
import {
  addRequest,
  diskName,
  isPmem,
  nameOf,
  pathsOf,
  type Placed,
  poolName,
  poolSize,
  removeRequest,
  requireOffered,
  swapRequest,
} from './devices.ts';
import { nextSlot, pciAddress, reservedSlots } from './devices-slots.ts';
import type { PlacedDevices } from './state-devices.ts';

/** What plugging needs of a VM. */
export interface PlugScope {
  context: VmContext;
  at: WorkFolder;
  /** whether there are drives that disks go into */
  pool: boolean;
  /** whether devices can be plugged into a running guest */
  plugs: boolean;
}

/** What plugging needs of a VM that runs. */
export interface LiveScope extends PlugScope {
  control: FirecrackerControl;
  vmm: VmmProcess;
  /** the VMM's */
  pid: number;
}

/**
 * Takes a device up for the boot.
 * @throws {VmError} INVALID_ARGUMENT, UNSUPPORTED, FILE_*, PERMISSION, HOST_MISSING
 */
export async function addCold(scope: PlugScope, before: PlacedDevices, device: Device): Promise<PlacedDevices> {
  const placed = await lookAt(scope, before.devices, device);
  await insertDevice(scope.at, placed);
  return { ...before, devices: [...before.devices, placed] };
}

/** Puts a device's file, node or socket where Firecracker finds it. */
export async function insertDevice(at: WorkFolder, { device, name }: Placed): Promise<void> {
  if (device.kind === 'net') return;
  const [source, access] =
    device.kind === 'block'
      ? [device.path, device.readOnly ? ('read' as const) : ('write' as const)]
      : [device.socket, 'write' as const];
  await insert(at, { source, name: diskName(name), access });
}

/**
 * Gives a device to a running guest: a disk by the pool, where there is one; all else on its PCI bus, where it sees the device after a rescan.
 * @throws {VmError} INVALID_ARGUMENT, UNSUPPORTED, FILE_*, PERMISSION, HOST_MISSING, VMM_FAILED with Firecracker's words
 */
export async function addHot(
  scope: LiveScope,
  before: PlacedDevices,
  device: Device,
  call: CallOptions,
): Promise<PlacedDevices & { result: { guestPath?: string } }> {
  const found = await lookAt(scope, before.devices, device);
  const { context, at, control, vmm, pid } = scope;
  const pool = scope.pool ? poolDrive(found, before.devices, context.config) : undefined;
  if (pool === undefined) requirePluggable(scope, before, found);
  // Written down only for a VM that began with devices.
  const reserved = before.reserved.length > 0 ? before.reserved : reservedSlots([], context.config);
  const placed: Placed =
    pool === undefined ? { ...found, slot: nextSlot(before.devices, reserved) } : { ...found, pool };
  const file = diskName(placed.name);
  await insertDevice(at, placed);
  try {
    await withShown(vmm, shownOf(placed, at), call, async (seen) => {
      await seen;
      if (placed.device.kind !== 'net') await requireVisible(at, file, pid);
      if (at.uid !== undefined) await allowFileSize(pid, placed.sizeBytes ?? 0);
      const limit = placed.device.kind === 'block' ? placed.device.rateLimit : undefined;
      await control.send([pool === undefined ? addRequest(placed, context) : swapRequest(pool, file, limit)], call);
    });
  } catch (error) {
    await takeOut(at, file);
    throw error;
  }
  const result = placed.slot === undefined ? {} : { guestPath: pciAddress(placed.slot) };
  return { ...before, devices: [...before.devices, placed], result };
}

/**
 * Takes a device from a running guest, which must have let go of it: Firecracker neither asks nor tells it.
 * @throws {VmError} INVALID_ARGUMENT when it isn't there, UNSUPPORTED, VMM_FAILED
 */
export async function removeHot(
  { context, at, control, vmm, plugs }: LiveScope,
  before: PlacedDevices,
  device: Device,
  call: CallOptions,
): Promise<PlacedDevices & { result: undefined }> {
  const id = deviceId(device);
  const placed = before.devices.find((other) => other.device.id === id);
  if (placed === undefined) throw new VmError('INVALID_ARGUMENT', `device ${id} is not plugged`, { field: 'id' });
  if (placed.pool === undefined && !plugs) {
    throw new VmError('UNSUPPORTED', `device ${id} was there from the start, and stays`, {
      operation: 'hotplugRemoveDevice',
    });
  }
  const request =
    placed.pool === undefined ? removeRequest(placed, context.config) : swapRequest(placed.pool, poolName(placed.pool));
  await control.send([request], call);
  if (placed.device.kind !== 'net') await takeOut(at, diskName(placed.name));
  await concealAll(vmm, shownOf(placed, at).paths);
  const spent = before.spent === true || placed.pool === undefined;
  return { ...before, devices: before.devices.filter((other) => other !== placed), spent, result: undefined };
}

/** What our own confinement shows of a device; into the jailer's it is put as a file. */
function shownOf({ device, sizeBytes = 0 }: Placed, { uid }: WorkFolder): ShownDevice {
  if (uid !== undefined) return { paths: [] };
  return { paths: pathsOf(device), fileBytes: device.kind === 'block' && !device.readOnly ? sizeBytes : 0 };
}

/** Everything that can be said of a device before Firecracker is asked. */
async function lookAt({ context, at }: PlugScope, present: readonly Placed[], device: Device): Promise<Placed> {
  checkDevice(device);
  const { config, networkNamespace, runtimeFolder } = context;
  requireOffered(device, config);
  const real = await onHost(device, { config, networkNamespace });
  const file = real.kind === 'block' ? real.path : real.kind === 'vhost-user' ? real.socket : undefined;
  if (file?.startsWith(`${runtimeFolder}/`) === true || file?.startsWith(`${at.folder}/`) === true)
    throw new VmError('INVALID_ARGUMENT', `${file} is in the folder of the VMM, which the guest must not get`, {
      field: 'path',
      path: file,
    });
  checkAmong(
    present.map((placed) => placed.device),
    real,
  );
  const name = nameOf(real.id);
  const taken = present.some((placed) => placed.name === name) || /^(rootfs|pool\d+)$/.test(name);
  if (taken)
    throw new VmError('INVALID_ARGUMENT', `Firecracker would call device ${real.id} ${name}, which is taken`, {
      field: 'id',
    });
  const seen = real.kind === 'block' ? await stat(real.path) : undefined;
  return { device: real, name, ...(seen?.isFile() === true ? { sizeBytes: seen.size } : {}) };
}

/** The drive of the pool that a disk goes into; undefined for what can't be shown by one, or when all are in use. */
function poolDrive({ device }: Placed, present: readonly Placed[], config: HypervisorConfig): number | undefined {
  // The drives are virtio-blk, and can be written.
  if (device.kind !== 'block' || device.readOnly || isPmem(device, config)) return undefined;
  const taken = new Set(present.map(({ pool }) => pool));
  return Array.from({ length: poolSize }, (_, index) => index).find((index) => !taken.has(index));
}

/**
 * Firecracker never gives the address of a device's registers to another one, and the guest moves those of the next device to the place that
 * became free, which Firecracker does not follow (seen with 1.16.1 and its head): that device would be dead.
 */
function requirePluggable({ plugs }: LiveScope, { spent }: PlacedDevices, { device }: Placed): void {
  if (plugs && spent !== true) return;
  if (!plugs && device.kind === 'block' && !device.readOnly) {
    throw new VmError('INVALID_ARGUMENT', `all ${poolSize} drives for disks that are swapped in are in use`, {
      operation: 'hotplugAddDevice',
      advice: 'Unplug one first.',
    });
  }
  const why = plugs
    ? 'Firecracker can plug nothing more after a device was unplugged, but disks that may be written into its eight drives for them'
    : 'Firecracker can plug nothing but disks that may be written';
  throw new VmError('UNSUPPORTED', `${device.id} can't be plugged into this running VM: ${why}`, {
    operation: 'hotplugAddDevice',
    advice: 'Add it before the start. Version 1.16 can plug devices, with the machine type pci.',
  });
}
