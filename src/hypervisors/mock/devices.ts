import { VmError } from '../../errors.ts';
import type { HypervisorConfig } from '../../config/vm-config.ts';
import type { Device } from '../device.ts';
import type { MemoryModule } from '../memory-modules.ts';
import type { MockMachine } from './wire.ts';

/** Names a device within a machine. */
export function deviceId(device: Device): string {
  if ('id' in device) return device.id;
  return device.kind === 'memory' ? `memory-${device.slot ?? 0}` : 'cpu';
}

/** The machine with one device more. @throws {VmError} INVALID_ARGUMENT, UNSUPPORTED */
export function plugged(machine: MockMachine, device: Device, config: HypervisorConfig): MockMachine {
  if (device.kind === 'block' && config.disableBlockDeviceUse) {
    throw new VmError('INVALID_CONFIG', 'disableBlockDeviceUse forbids block devices', {
      field: 'disableBlockDeviceUse',
    });
  }
  if (device.kind === 'cpu') return withVcpus(machine, machine.vcpus + device.count, config);
  const slots = machine.devices.filter((other) => other.kind === 'memory').length;
  if (device.kind === 'memory' && slots >= config.memorySlots) {
    throw new VmError('INVALID_ARGUMENT', `all ${config.memorySlots} memory slots are in use`, {
      field: 'memorySlots',
    });
  }
  const added = device.kind === 'memory' ? { ...device, slot: device.slot ?? slots } : device;
  if (machine.devices.some((other) => deviceId(other) === deviceId(added))) {
    throw new VmError('INVALID_ARGUMENT', `device ${deviceId(added)} is already plugged`);
  }
  const memoryMiB = machine.memoryMiB + (added.kind === 'memory' ? added.sizeMiB : 0);
  return { ...machine, memoryMiB, devices: [...machine.devices, added] };
}

/** The machine without a device. @throws {VmError} INVALID_ARGUMENT when it isn't there */
export function unplugged(machine: MockMachine, device: Device, config: HypervisorConfig): MockMachine {
  if (device.kind === 'cpu') return withVcpus(machine, machine.vcpus - device.count, config);
  const found = machine.devices.find((other) => deviceId(other) === deviceId(device));
  if (found === undefined) throw new VmError('INVALID_ARGUMENT', `device ${deviceId(device)} is not plugged`);
  const memoryMiB = machine.memoryMiB - (found.kind === 'memory' ? found.sizeMiB : 0);
  return { ...machine, memoryMiB, devices: machine.devices.filter((other) => other !== found) };
}

/** The machine with another number of vCPUs. @throws {VmError} INVALID_ARGUMENT outside 1 to the maximum */
export function withVcpus(machine: MockMachine, vcpus: number, config: HypervisorConfig): MockMachine {
  if (!(Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= config.maxVcpus)) {
    throw new VmError('INVALID_ARGUMENT', `vcpus must be from 1 to ${config.maxVcpus}, not ${vcpus}`, {
      field: 'vcpus',
    });
  }
  return { ...machine, vcpus };
}

/** The memory that was plugged into a machine. */
export function memoryModules({ devices }: MockMachine): MemoryModule[] {
  return devices.filter((device) => device.kind === 'memory').map(({ slot = 0, sizeMiB }) => ({ slot, sizeMiB }));
}
