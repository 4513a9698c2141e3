import { createHash } from 'node:crypto';
import { assetPath } from '../../config/assets.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import { vmmFiles } from '../../state/paths.ts';
import type { BlockDevice, Device, NetDevice, SerialPortDevice, VsockDevice } from '../device.ts';
import type { VmContext } from '../hypervisor.ts';

/** A device that acrn-dm has. */
export type OwnDevice = BlockDevice | NetDevice | SerialPortDevice | VsockDevice;

/** A device of a VM, and where it is on the guest's PCI bus. */
export interface Placed {
  device: OwnDevice;
  /** absent for a serial port: all are on one device */
  slot?: number | undefined;
  /** it was swapped into a disk that was there */
  swapped?: boolean | undefined;
  /** acrn-dm was asked for that, and did not answer: its place is taken, whether the guest has it or not */
  unsure?: boolean | undefined;
  /** of a macvtap: what is opened for it */
  node?: string | undefined;
  /** of a disk that is a file, when it was added */
  sizeBytes?: number | undefined;
}

/** How many processes can talk with the guest's agent at once: one serial port each. */
export const agentPorts = 8;

/** Ports of one virtio-console device. */
export const maxSerialPorts = 16;

/** Places on the guest's PCI bus. Disks that are given at the start come first, so that the guest names them first. */
const slots = {
  bridge: 0,
  lpc: 1,
  agent: 3,
  entropy: 4,
  image: 5,
  serialPorts: 6,
  firstCold: 7,
  lastCold: 22,
  firstSwap: 23,
  anchor: 31,
};

/** How many empty disks there are for files that are swapped in, where other devices leave room for them. */
const swapDisks = 8;

/**
 * How many devices may have ports: acrn-dm gives each a page of the guest's I/O space from 0x2000 on. With a fourteenth the end of it is
 * 0x10000, which its ACPI tables can't say, and iasl refuses them (pci_emul_alloc_resource and iolimit in its hw/pci/core.c).
 */
const portDevices = 13;

/** How many there are with ports, the empty disks left out: disks and cards each, all serial ports together, and those that every guest has. */
function withPorts(devices: readonly Placed[], config: HypervisorConfig): number {
  const cold = devices.filter(({ swapped }) => swapped !== true).map(({ device }) => device.kind);
  const [agent, entropy, anchor] = [1, 1, 1];
  const image = assetPath(config, 'image') === undefined ? 0 : 1;
  const serial = cold.includes('serial-port') ? 1 : 0;
  // A vsock has its registers in memory.
  const others = cold.filter((kind) => kind === 'block' || kind === 'net').length;
  return agent + entropy + anchor + image + serial + others;
}

/** How many empty disks a guest is started with. */
function emptyDisks(devices: readonly Placed[], config: HypervisorConfig): number {
  if (config.disableBlockDeviceUse) return 0;
  return Math.max(0, Math.min(swapDisks, portDevices - withPorts(devices, config)));
}

/** The devices that every guest has, and the empty disks. */
export function bootDevices({ config, runtimeFolder }: VmContext, devices: readonly Placed[]): string[] {
  const ports = Array.from(
    { length: agentPorts },
    (_, port) => `socket:agent.channel.${port}=${vmmFiles.agentSocket(runtimeFolder, port)}`,
  );
  // `@`: the guest's kernel takes it as a console, hvc0.
  const console = `@socket:console=${vmmFiles.consoleSocket(runtimeFolder)}`;
  const image = assetPath(config, 'image');
  const empty = Array.from(
    { length: emptyDisks(devices, config) },
    (_, index) => `${slots.firstSwap + index},virtio-blk,nodisk`,
  );
  return [
    ...slot(`${slots.bridge}:0,hostbridge`),
    ...slot(`${slots.lpc}:0,lpc`),
    // The first serial line goes into its output; all its other ends are a terminal's or TCP ports that are open to anyone.
    ...['-l', 'com1,stdio'],
    ...slot([`${slots.agent},virtio-console`, ...ports, console].join(',')),
    ...slot(`${slots.entropy},virtio-rnd`),
    ...(image === undefined ? [] : slot(`${slots.image},virtio-blk,${fileName(image, 'image')},ro`)),
    ...empty.flatMap(slot),
    // Without any disk that is a file, acrn-dm never ends: its thread for events waits for a signal that only those disks take.
    ...slot(`${slots.anchor},virtio-blk,${vmmFiles.anchorDisk(runtimeFolder)},ro`),
  ];
}

function slot(text: string): string[] {
  return ['-s', text];
}

/** The argument for a device with a place of its own; none for what was swapped in, and for serial ports. */
export function diskArgument(
  { device, slot: at, swapped }: Placed,
  context: Pick<VmContext, 'id' | 'config'>,
): string[] {
  if (swapped === true || at === undefined) return [];
  switch (device.kind) {
    case 'block':
      return slot(
        `${at},virtio-blk,${device.ioThread === true ? 'iothread,' : ''}${fileOptions(device, context.config)}`,
      );
    case 'net':
      return slot(
        `${at},virtio-net,tap=${device.tap ?? ''}${device.vhost === true ? ',vhost' : ''},mac=${device.mac ?? madeUpMac(context.id, device.id)}`,
      );
    case 'vsock':
      return slot(`${at},vhost-vsock,cid=${device.contextId ?? 0}`);
    case 'serial-port':
      return [];
  }
}

/** The serial ports, on a device of their own: the agent's has no room for all. */
export function serialPorts(devices: readonly Placed[], runtimeFolder: string): string[] {
  const ports = devices.flatMap(({ device }) =>
    device.kind === 'serial-port' ? [`socket:${device.name}=${vmmFiles.deviceSocket(runtimeFolder, device.id)}`] : [],
  );
  return ports.length === 0 ? [] : slot([`${slots.serialPorts},virtio-console`, ...ports].join(','));
}

/** A disk's file and what goes with it, for the start and for the swap alike. @throws {VmError} INVALID_ARGUMENT */
export function fileOptions(device: BlockDevice, config: HypervisorConfig): string {
  const direct = device.cache?.direct ?? (config.blockDeviceCacheSet && config.blockDeviceCacheDirect);
  const options = [
    ...(device.readOnly ? ['ro'] : []),
    ...(direct ? ['nocache'] : []),
    ...(device.aio === 'io_uring' ? ['aio=io_uring'] : []),
  ];
  return [fileName(device.path, 'path'), ...options].join(',');
}

/** @throws {VmError} INVALID_ARGUMENT for a path that acrn-dm would read as something else */
function fileName(path: string, field: string): string {
  const why = path.includes(',')
    ? 'splits its options at commas'
    : path.includes('nodisk')
      ? 'takes `nodisk` in it for no disk at all'
      : undefined;
  if (why === undefined) return path;
  const advice = 'Give it another name, or name a link to it in another folder.';
  throw new VmError('INVALID_ARGUMENT', `acrn-dm can't open ${path}: it ${why}`, { field, path, advice });
}

/** The place for one more device at the start. @throws {VmError} INVALID_ARGUMENT when the bus or the serial device is full */
export function coldSlot(devices: readonly Placed[], device: OwnDevice, config: HypervisorConfig): number | undefined {
  if (withPorts([...devices, { device }], config) > portDevices)
    throw new VmError(
      'INVALID_ARGUMENT',
      `an ACRN guest has ${portDevices} devices with ports at most, its own included`,
      {
        field: 'kind',
      },
    );
  if (device.kind === 'serial-port') {
    if (devices.filter((other) => other.device.kind === 'serial-port').length < maxSerialPorts) return undefined;
    throw new VmError('INVALID_ARGUMENT', `a VM has ${maxSerialPorts} serial ports at most`, { field: 'kind' });
  }
  const free = firstFree(devices, slots.firstCold, slots.lastCold);
  if (free !== undefined) return free;
  throw new VmError('INVALID_ARGUMENT', 'there is no room for another device on the PCI bus', { field: 'kind' });
}

/** The disk into which the next file is swapped. @throws {VmError} INVALID_ARGUMENT when none is left */
export function swapSlot(devices: readonly Placed[], config: HypervisorConfig): number {
  const count = emptyDisks(devices, config);
  const free = firstFree(devices, slots.firstSwap, slots.firstSwap + count - 1);
  if (free !== undefined) return free;
  const problem =
    count === 0
      ? 'the devices that this VM was started with left no room for disks that are swapped in'
      : `all ${count} disks for files that are swapped in are in use, and stay so`;
  throw new VmError('INVALID_ARGUMENT', problem, {
    operation: 'hotplugAddDevice',
    advice: 'Add it before the start.',
  });
}

function firstFree(devices: readonly Placed[], from: number, to: number): number | undefined {
  const taken = new Set(devices.map((placed) => placed.slot));
  for (let at = from; at <= to; at++) if (!taken.has(at)) return at;
  return undefined;
}

/** Where the guest finds a device, such as `0000:00:17.0`. */
export function pciAddress(at: number): string {
  return `0000:00:${at.toString(16).padStart(2, '0')}.0`;
}

/**
 * Refuses what acrn-dm does not have, instead of leaving it out.
 * @throws {VmError} UNSUPPORTED naming the field, INVALID_CONFIG, INVALID_ARGUMENT
 */
export function requireOffered(device: Device, config: HypervisorConfig): asserts device is OwnDevice {
  switch (device.kind) {
    case 'block':
      if (config.disableBlockDeviceUse)
        throw new VmError('INVALID_CONFIG', 'disableBlockDeviceUse forbids block devices', {
          field: 'disableBlockDeviceUse',
        });
      refuseIf(device.format !== 'raw' || device.backing !== undefined, 'format', 'it reads raw images only');
      refuseIf((device.driver ?? config.blockDeviceDriver) !== 'virtio-blk', 'driver', 'its disks are virtio-blk');
      refuseIf(device.cache?.noFlush === true, 'cache.noFlush', 'it flushes whenever its guest asks');
      refuseIf(device.aio === 'native', 'aio', 'it has threads and io_uring');
      refuseIf(device.serial !== undefined, 'serial', 'it makes the serial number from the path');
      refuseIf(device.rateLimit !== undefined, 'rateLimit', 'it limits no rates');
      fileOptions(device, config);
      return;
    case 'net':
      refuseIf(device.tap === undefined, 'tap', 'it has no network of its own: make a tap device');
      refuseIf((device.queues ?? 1) > 1, 'queues', 'its cards have one pair of queues');
      refuseIf(device.rateLimit !== undefined, 'rateLimit', 'it limits no rates');
      if (device.tap?.includes(',') === true)
        throw new VmError('INVALID_ARGUMENT', 'acrn-dm splits its options at commas: the tap needs another name', {
          field: 'tap',
        });
      return;
    case 'serial-port':
    case 'vsock':
      return;
    default:
      throw new VmError('UNSUPPORTED', `acrn-dm has no ${device.kind} that can be added`, { field: 'kind' });
  }
}

function refuseIf(wrong: boolean, field: string, reason: string): void {
  if (!wrong) return;
  throw new VmError('UNSUPPORTED', `acrn-dm can't have this ${field}: ${reason}`, { field });
}

/** The same for the same device of the same VM; locally administered, for one card (IEEE 802). */
function madeUpMac(vmId: string, deviceId: string): string {
  const digest = createHash('sha256').update(`${vmId}\0${deviceId}`).digest();
  const first = ((digest[0] ?? 0) & 0xfc) | 0x02;
  return [first, ...digest.subarray(1, 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
