import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { CallOptions } from '../../config/call-options.ts';
import { virtualBytes } from '../../config/qcow2-header.ts';
import { VmError } from '../../errors.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { QmpClient } from '../../transports/qmp/client.ts';
import type { Device, NamedDevice } from '../device.ts';
import { groupNode, onHost } from '../device-host.ts';
import { checkAmong, checkDevice } from '../device-rules.ts';
import type { VmContext } from '../hypervisor.ts';
import { findMacvtap } from '../macvtap.ts';
import { contextIds } from './control-context-id.ts';
import { diskRead, driven, unplug } from './control-plug.ts';
import { requireOffered } from './devices.ts';
import { partsOf, type PartsContext } from './devices-kinds.ts';
import { type Backend, makeBackend, removeBackend } from './devices-parts.ts';
import { type Placed, placeDevice } from './devices-place.ts';
import { plugFailure } from './errors.ts';
import type { QomProperty } from './wire.ts';

const vhostNet = '/dev/vhost-net';

/**
 * Everything that can be said of a device before QEMU is asked, and a place for it.
 * @param present what the VM has, its root among it
 * @returns what is to be plugged, in that order: the device is the last
 * @throws {VmError} INVALID_ARGUMENT, INVALID_CONFIG, UNSUPPORTED, FILE_*, PERMISSION, HOST_MISSING; BUSY when there is no place
 */
export async function looked(
  context: VmContext,
  present: readonly Placed[],
  device: Device,
  running: boolean,
): Promise<Placed[]> {
  const { config, networkNamespace, runtimeFolder } = context;
  checkDevice(device);
  requireOffered(device, config);
  const real = await onHost(decided(device, config), { config, networkNamespace });
  for (const path of filesOf(real)) {
    if (!path.startsWith(`${runtimeFolder}/`)) continue;
    throw new VmError('INVALID_ARGUMENT', `${path} is in the folder of the VMM, which the guest must not get`, {
      field: 'path',
      path,
    });
  }
  checkAmong(
    present.flatMap(({ device: other }) => (other.kind === 'controller' ? [] : [other])),
    real,
  );
  const placed = placeDevice(present, real, config, running);
  const sizeBytes = real.kind === 'block' ? await growsTo(real) : undefined;
  const node = await hostNode(real, networkNamespace);
  const chosen = device.kind === 'vsock' && device.contextId === undefined ? ({ idChosen: true } as const) : {};
  return placed.map((one) => (one.device === real ? { ...one, sizeBytes, node, ...chosen } : one));
}

/** The device of the host that is opened for another one. @throws {VmError} FILE_NOT_FOUND, HOST_MISSING */
export async function hostNode(
  device: Placed['device'],
  networkNamespace: string | undefined,
): Promise<string | undefined> {
  if (device.kind === 'vfio') return groupNode(device);
  if (device.kind !== 'net' || device.tap === undefined || device.tapType !== 'macvtap') return undefined;
  return (await findMacvtap(device.tap, networkNamespace)).node;
}

/** What is left to us is decided here, so that what QEMU is told follows from the device alone. */
function decided(device: NamedDevice, config: HypervisorConfig): NamedDevice {
  if (device.kind === 'vsock') return { ...device, contextId: device.contextId ?? contextIds.choose() };
  if (device.kind !== 'net' || device.tap === undefined) return device;
  // QEMU 7.2 does not go without vhost-net when it is missing: it crashes.
  return { ...device, vhost: device.vhost ?? (!config.disableVhostNet && existsSync(vhostNet)) };
}

function filesOf(device: NamedDevice): string[] {
  if (device.kind === 'block') return device.backing === undefined ? [device.path] : [device.path, device.backing.path];
  if (device.kind === 'fs') return [device.path];
  return device.kind === 'vhost-user' ? [device.socket] : [];
}

/** How large a disk's file may become; undefined for a device of the host. */
async function growsTo({ path, format }: NamedDevice & { kind: 'block' }): Promise<number | undefined> {
  const found = await stat(path);
  if (!found.isFile()) return undefined;
  return format === 'raw' ? found.size : Math.max(found.size, await virtualBytes(path));
}

/** Where a device is written down that is about to be taken by the guest. */
export interface PlugNotes {
  /** QEMU has it; the guest takes it meanwhile */
  added(): Promise<void>;
  /** it is gone again */
  takenBack(): Promise<void>;
}

/** Milliseconds for a guest to give back what nobody waits for any more. */
const giveBackMs = 5_000;

/**
 * Gives a device to a running QEMU, and waits until the guest has it. When that fails, none of it is left; unless the caller gives up while
 * the guest takes it, and the guest then does not let go of it: that is said, and it stays written down.
 * @throws {VmError} VMM_FAILED with QEMU's words, BUSY for a file that another process has, TIMEOUT, ABORTED, VMM_GONE
 */
export async function plugDevice(
  qmp: QmpClient,
  placed: Placed,
  context: PartsContext,
  call: CallOptions,
  notes: PlugNotes,
): Promise<void> {
  const { backends, device } = partsOf(placed, context);
  const made: Backend[] = [];
  try {
    for (const backend of backends) {
      await makeBackend(qmp, backend, call);
      made.push(backend);
    }
    await qmp.execute('device_add', device, call);
  } catch (error) {
    const failure = plugFailure(error, placed.device.id);
    await removeBackends(qmp, made, {}).catch((left: unknown) => {
      throw failure.with({ log: `of its parts this one stays: ${VmError.from(left).rawMessage}` });
    });
    throw failure;
  }
  // Written down while the guest takes it.
  const noted = notes.added();
  noted.catch(() => undefined);
  try {
    if (placed.device.kind === 'block' && placed.place.bus !== 'memory') await diskRead(qmp, placed.device.id, call);
    if (tellsStatus(placed.device)) await driven(qmp, placed.device.id, call);
    await noted;
  } catch (error) {
    await noted.catch(() => undefined);
    await unplugDevice(qmp, placed, context, { signal: AbortSignal.timeout(giveBackMs) }).catch(() => {
      throw VmError.from(error).with({ log: `the guest does not give ${placed.device.id} back: it stays attached` });
    });
    await notes.takenBack();
    throw error;
  }
}

/**
 * Takes a device from a running QEMU: the guest is asked for it, and what was behind it goes when the guest has let go. One that the
 * guest gave back after an earlier call had stopped waiting is only cleared.
 * @throws {VmError} GUEST_REFUSED, VMM_FAILED, VMM_GONE, ABORTED; TIMEOUT when the guest does not let go in time, and may do so later
 */
export async function unplugDevice(
  qmp: QmpClient,
  placed: Placed,
  context: PartsContext,
  call: CallOptions,
): Promise<void> {
  const { id } = placed.device;
  const { backends } = partsOf(placed, context);
  const there = await qmp.execute<QomProperty[]>('qom-list', { path: '/machine/peripheral' }, call);
  if (there.some(({ name }) => name === id))
    await unplug(qmp, { path: `/machine/peripheral/${id}`, what: `the device ${id}` }, call);
  for (const backend of backends.toReversed()) {
    await removeBackend(qmp, backend, call).catch((error: unknown) => {
      // An earlier call that was given up may have removed it.
      if (!isMissing(error)) throw error;
    });
  }
}

/** 7.2 crashes when it is asked for the status of a vhost-user-scsi. */
function tellsStatus(device: Placed['device']): boolean {
  if (device.kind === 'vhost-user') return device.type !== 'scsi';
  return ['net', 'fs', 'vsock', 'controller'].includes(device.kind);
}

function isMissing(error: unknown): boolean {
  return /not found|failed to find/i.test(VmError.from(error).rawMessage);
}

async function removeBackends(qmp: QmpClient, backends: readonly Backend[], call: CallOptions): Promise<void> {
  for (const backend of backends.toReversed()) await removeBackend(qmp, backend, call);
}
