import { access, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { VmError } from '../../errors.ts';
import type { Device, NetDevice } from '../device.ts';
import { onHost } from '../device-host.ts';
import { checkAmong, checkDevice } from '../device-rules.ts';
import type { VmContext } from '../hypervisor.ts';
import { findMacvtap } from '../macvtap.ts';
import { coldSlot, type Placed, requireOffered, swapSlot } from './devices.ts';

/** Sizes that acrn-dm takes for a disk that is a file are multiples of it. */
const sectorBytes = 512;

/**
 * Takes a device up for the start.
 * @throws {VmError} INVALID_ARGUMENT, INVALID_CONFIG, UNSUPPORTED, FILE_*, PERMISSION, HOST_MISSING
 */
export async function placeCold(context: VmContext, before: readonly Placed[], device: Device): Promise<Placed> {
  const placed = await look(context, before, device);
  return { ...placed, slot: coldSlot(before, placed.device, context.config) };
}

/**
 * Finds an empty disk for a file that is swapped in while the guest runs.
 * @throws {VmError} as {@link placeCold}
 */
export async function placeSwapped(context: VmContext, before: readonly Placed[], device: Device): Promise<Placed> {
  const placed = await look(context, before, device);
  const refuse = (field: string, why: string): VmError =>
    new VmError('UNSUPPORTED', `a disk can't be swapped in with this ${field}: ${why}`, {
      operation: 'hotplugAddDevice',
      field,
      advice: 'Add it before the start.',
    });
  if (placed.device.kind !== 'block') throw refuse('kind', 'acrn-dm swaps disks only');
  if (placed.device.readOnly) throw refuse('readOnly', 'its guest would take it for one that can be written');
  if (placed.device.ioThread === true) throw refuse('ioThread', 'the disk that is there has none');
  return { ...placed, slot: swapSlot(before, context.config), swapped: true };
}

/** Everything that can be said of a device before acrn-dm is told of it. */
async function look(context: VmContext, present: readonly Placed[], device: Device): Promise<Placed> {
  checkDevice(device);
  const { config, networkNamespace, runtimeFolder } = context;
  requireOffered(device, config);
  if (device.kind === 'vsock' && device.contextId === undefined)
    throw new VmError('INVALID_ARGUMENT', 'a vsock of an ACRN guest needs its contextId', { field: 'contextId' });
  const real = await onHost(device, { config, networkNamespace });
  // The links in its path are resolved, and the name that they lead to must do as well.
  requireOffered(real, config);
  checkAmong(
    present.map((placed) => placed.device),
    real,
  );
  if (real.kind === 'net') {
    const card = { ...real, vhost: await hasVhost(real, context) };
    if (real.tap === undefined || real.tapType !== 'macvtap') return { device: card };
    return { device: card, node: (await findMacvtap(real.tap, networkNamespace)).node };
  }
  if (real.kind !== 'block') return { device: real };
  if (real.path.startsWith(`${runtimeFolder}/`))
    throw new VmError('INVALID_ARGUMENT', `${real.path} is in the folder of the VMM, which the guest must not get`, {
      field: 'path',
      path: real.path,
    });
  const found = await stat(real.path);
  if (!found.isFile()) return { device: real };
  if (found.size % sectorBytes === 0) return { device: real, sizeBytes: found.size };
  throw new VmError('FILE_INVALID', `${real.path} has ${found.size} bytes, which is no multiple of ${sectorBytes}`, {
    field: 'path',
    path: real.path,
    advice: `Make it longer: \`truncate -s %${sectorBytes} FILE\`.`,
  });
}

/** Where it is asked for it must be there (onHost has looked); where nobody says, it is used if it is. */
async function hasVhost({ vhost }: NetDevice, { config }: VmContext): Promise<boolean> {
  if (vhost !== undefined) return vhost;
  if (config.disableVhostNet) return false;
  return access('/dev/vhost-net').then(
    () => true,
    () => false,
  );
}

/**
 * Looks whether acrn-dm has opened a guest's taps: one that it can't open it mentions in its log, and starts the guest with a card
 * that has no link.
 * @throws {VmError} START_FAILED naming the tap
 */
export async function requireTaps(pid: number, devices: readonly Placed[]): Promise<void> {
  const wanted = devices.flatMap(({ device, node }) =>
    device.kind === 'net' ? [{ tap: device.tap ?? '', node }] : [],
  );
  if (wanted.length === 0) return;
  const folder = `/proc/${pid}`;
  const descriptors = await readdir(`${folder}/fdinfo`);
  const told = await Promise.all(
    descriptors.map(async (name) => [
      /^iff:\s*(\S+)/m.exec(await readFile(`${folder}/fdinfo/${name}`, 'utf8').catch(() => ''))?.[1],
      await readlink(`${folder}/fd/${name}`).catch(() => undefined),
    ]),
  );
  const opened = new Set(told.flat());
  const missing = wanted.find(({ tap, node }) => !opened.has(node ?? tap));
  if (missing === undefined) return;
  throw new VmError('START_FAILED', `acrn-dm could not open the tap device ${missing.tap}`, {
    field: 'tap',
    advice: 'Use it for one VM at a time; it must be in the network namespace of the VM.',
  });
}
