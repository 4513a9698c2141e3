import type { HypervisorConfig } from '../../config/vm-config.ts';
import { VmError } from '../../errors.ts';
import type { ProcessIdentity } from '../../state/process-identity.ts';
import type { NamedDevice } from '../device.ts';

/*
 * Where devices are plugged: addresses are given out here and nowhere else, so that they can be told beforehand, saved, and said to
 * the guest.
 */

/** A device that others are plugged into, made when the first of them comes. */
export interface Controller {
  kind: 'controller';
  id: 'scsi0' | 'serial1';
}

/** What has a place in the machine. */
export type Placeable = NamedDevice | Controller;

/** A bus of the machine and a number on it: a PCI slot, a SCSI disk's index; on `mmio` and `memory` it says nothing. */
export interface Place {
  bus: string;
  slot: number;
}

/** A device and where it is. */
export interface Placed {
  device: Placeable;
  place: Place;
  /** of a disk that is a file: its size, or that of what it holds */
  sizeBytes?: number | undefined;
  /** the device of the host that is opened for it: a macvtap's own, the IOMMU group's of one that is handed through */
  node?: string | undefined;
  /** of a vsock: its context id was chosen by us, and may be another one */
  idChosen?: true | undefined;
  /** the process that serves it, where that is ours */
  daemon?: ProcessIdentity | undefined;
}

/** A bus that devices are plugged into. */
interface Bus {
  id: string;
  /** address of the bus's bridge or port on the root bus; undefined for the root bus itself */
  at: number | undefined;
  firstSlot: number;
  slots: number;
}

type BusConfig = Pick<HypervisorConfig, 'machineType' | 'defaultBridges' | 'pcieRootPorts' | 'hotplugVfioOnRootBus'>;
type PlaceConfig = BusConfig & Pick<HypervisorConfig, 'blockDeviceDriver'>;

/** Bridges are at the addresses that virtcontainers gives them; the root ports follow the last that there can be. */
const bridgeName = 'pci-bridge-';
const firstBridge = 2;
const firstRootPort = 8;
/** Slots of a bridge that devices may have: 0 is not one for a hot-plug controller, 31 stays free as in virtcontainers. */
const bridgeSlots = 30;
/** On `pc`, slots of the root bus that QEMU doesn't give to what we start with. */
const rootSlots = { first: 16, count: 15 } as const;
/** Disks that virtio-scsi addresses: 256 targets with 256 units each. */
const scsiUnits = 256;
const maxScsiDisks = 256 * scsiUnits;

const families = ['microvm', 'pc', 'q35', 'virt'] as const;
export type MachineFamily = (typeof families)[number];

/** Machines of one family differ in their version only: `pc-q35-7.2` is a q35. */
export function machineFamily(machineType: string = 'q35'): MachineFamily {
  if (machineType === 'microvm') return 'microvm';
  if (machineType.startsWith('virt')) return 'virt';
  return machineType === 'pc' || machineType.startsWith('pc-i440fx-') ? 'pc' : 'q35';
}

/** Whether a machine takes vCPUs while it runs. */
export function plugsCpus(machineType: string | undefined): boolean {
  const family = machineFamily(machineType);
  return family === 'pc' || family === 'q35';
}

/** The id of the machine's root bus. */
export function rootBus(machineType: string | undefined): string {
  return machineFamily(machineType) === 'pc' ? 'pci.0' : 'pcie.0';
}

/** The machine's bridges: id and address on the root bus. */
export function bridges({ defaultBridges, machineType }: BusConfig): readonly { id: string; at: number }[] {
  const count = machineFamily(machineType) === 'microvm' ? 0 : defaultBridges;
  return Array.from({ length: count }, (_, index) => ({ id: `${bridgeName}${index}`, at: firstBridge + index }));
}

/** The machine's PCIe root ports: id and address on the root bus. */
export function rootPorts({ pcieRootPorts = 0 }: BusConfig): readonly { id: string; at: number }[] {
  return Array.from({ length: pcieRootPorts }, (_, index) => ({ id: `rp${index}`, at: firstRootPort + index }));
}

/** How a block device reaches the guest. */
export function blockDriver(
  device: { driver?: 'virtio-blk' | 'virtio-scsi' | 'nvdimm' | undefined },
  config: Pick<HypervisorConfig, 'blockDeviceDriver'>,
): 'virtio-blk' | 'virtio-scsi' | 'nvdimm' {
  if (device.driver !== undefined) return device.driver;
  const { blockDeviceDriver } = config;
  // The transport is the machine's affair: on microvm it is MMIO whatever the name.
  return blockDeviceDriver === 'virtio-scsi' || blockDeviceDriver === 'nvdimm' ? blockDeviceDriver : 'virtio-blk';
}

/**
 * Finds a place for a device, and one for the controller that it needs if that isn't there yet.
 * @param running the guest runs: then only what it can take while it does so is a place
 * @returns what is to be plugged, in that order
 * @throws {VmError} UNSUPPORTED on a machine without such a bus; BUSY "no more bridge slots available" and the like
 */
export function placeDevice(
  present: readonly Placed[],
  device: NamedDevice,
  config: PlaceConfig,
  running: boolean = true,
): Placed[] {
  const controller = controllerOf(device, config);
  if (controller === undefined || present.some((one) => one.device.id === controller))
    return [{ device, place: find(present, device, config, running) }];
  const first: Controller = { kind: 'controller', id: controller };
  const placed: Placed = { device: first, place: find(present, first, config, running) };
  return [placed, { device, place: find([...present, placed], device, config, running) }];
}

function controllerOf(device: Placeable, config: PlaceConfig): Controller['id'] | undefined {
  if (device.kind === 'serial-port') return 'serial1';
  return device.kind === 'block' && blockDriver(device, config) === 'virtio-scsi' ? 'scsi0' : undefined;
}

function find(present: readonly Placed[], device: Placeable, config: PlaceConfig, running: boolean): Place {
  const controller = controllerOf(device, config);
  if (controller === 'serial1')
    return { bus: 'serial1.0', slot: freeSlot(present, 'serial1.0', 1, 30, 'serial ports') };
  if (controller === 'scsi0')
    return { bus: 'scsi0.0', slot: freeSlot(present, 'scsi0.0', 0, maxScsiDisks, 'SCSI disks') };
  const family = machineFamily(config.machineType);
  const microvm = family === 'microvm';
  if (device.kind === 'block' && blockDriver(device, config) === 'nvdimm') {
    if (family !== 'pc' && family !== 'q35')
      throw new VmError('UNSUPPORTED', `the machine ${family} takes no nvdimm`, { field: 'machineType' });
    return { bus: 'memory', slot: 0 };
  }
  if (device.kind === 'vfio' && microvm)
    throw new VmError('UNSUPPORTED', 'the machine microvm has no PCI bus', { field: 'machineType' });
  if (microvm) return { bus: 'mmio', slot: 0 };
  const buses = busesFor(device, config, running);
  for (const bus of buses) {
    const slot = firstFree(present, bus.id, bus.firstSlot, bus.slots);
    if (slot !== undefined) return { bus: bus.id, slot };
  }
  const [full, field] = buses.some(({ id }) => id.startsWith(bridgeName))
    ? ['bridge slots', 'defaultBridges']
    : ['root ports', 'pcieRootPorts'];
  throw new VmError('BUSY', `no more ${full} available`, {
    advice: `Unplug a device, or make the VM with more \`${field}\`.`,
  });
}

function busesFor(device: Placeable, config: PlaceConfig, running: boolean): Bus[] {
  if (device.kind === 'vfio' && config.hotplugVfioOnRootBus) return rootBuses(config);
  if (!bridgesStay(config)) return bridgeBuses(config);
  return running ? rootBuses(config) : [...rootBuses(config), ...bridgeBuses(config)];
}

/** Without ACPI what is in a bridge's slots comes and goes by SHPC alone, for which Debian's kernel for arm64 has no driver. */
function bridgesStay({ machineType }: BusConfig): boolean {
  return machineFamily(machineType) === 'virt';
}

/** Whether a device is where the guest can let go of it. */
export function canLeave({ place }: Placed, config: BusConfig): boolean {
  return !(bridgesStay(config) && place.bus.startsWith(bridgeName));
}

function bridgeBuses(config: BusConfig): Bus[] {
  return bridges(config).map(({ id, at }) => ({ id, at, firstSlot: 1, slots: bridgeSlots }));
}

/** Where VFIO devices go with `hotplugVfioOnRootBus`. */
function rootBuses(config: BusConfig): Bus[] {
  if (machineFamily(config.machineType) === 'pc')
    return [{ id: 'pci.0', at: undefined, firstSlot: rootSlots.first, slots: rootSlots.count }];
  return rootPorts(config).map(({ id, at }) => ({ id, at, firstSlot: 0, slots: 1 }));
}

function freeSlot(present: readonly Placed[], bus: string, first: number, count: number, what: string): number {
  const slot = firstFree(present, bus, first, count);
  if (slot !== undefined) return slot;
  throw new VmError('BUSY', `no more ${what} available: there are ${count}`, { advice: 'Unplug one.' });
}

function firstFree(present: readonly Placed[], bus: string, first: number, count: number): number | undefined {
  const taken = new Set(present.filter(({ place }) => place.bus === bus).map(({ place }) => place.slot));
  for (let slot = first; slot < first + count; slot++) if (!taken.has(slot)) return slot;
  return undefined;
}

/** The place as properties of a `-device`. QEMU reads a PCI address as hexadecimal. */
export function placeProperties({ bus, slot }: Place): {
  bus?: string;
  addr?: string;
  'scsi-id'?: number;
  lun?: number;
} {
  if (bus === 'mmio' || bus === 'memory') return {};
  if (bus === 'serial1.0') return { bus };
  if (bus === 'scsi0.0') return { bus, 'scsi-id': Math.floor(slot / scsiUnits), lun: slot % scsiUnits };
  return { bus, addr: slot.toString(16) };
}

/**
 * Where the guest finds the device: PCI addresses from the root bus down, each two hexadecimal digits, with a slash between them
 * (`02/05`); a SCSI disk's target and unit after its controller's (`02/01/0:3`). Undefined for what has no address.
 */
export function guestPath(placed: Placed, present: readonly Placed[], config: BusConfig): string | undefined {
  const { bus, slot } = placed.place;
  if (bus === 'scsi0.0') {
    const controller = present.find(({ device }) => device.id === 'scsi0');
    const above = controller === undefined ? undefined : guestPath(controller, present, config);
    return above === undefined ? undefined : `${above}/${Math.floor(slot / scsiUnits)}:${slot % scsiUnits}`;
  }
  const known = [...bridgeBuses(config), ...rootBuses(config)].find(({ id }) => id === bus);
  if (known === undefined) return undefined;
  return [known.at, slot].flatMap((address) => (address === undefined ? [] : [twoDigits(address)])).join('/');
}

function twoDigits(address: number): string {
  return address.toString(16).padStart(2, '0');
}
