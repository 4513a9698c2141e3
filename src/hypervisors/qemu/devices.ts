import type { HypervisorConfig } from '../../config/vm-config.ts';
import { vmmFiles } from '../../state/paths.ts';

/** How many processes can talk with the guest's agent at once: one virtio-serial port each. */
export const agentPorts = 8;

/** A comma ends a value in QEMU's option strings and is written twice inside one (qemu(1), "-drive"). */
export function quoted(value: string): string {
  return value.replaceAll(',', ',,');
}

/** `-device` with JSON, in which a comma means nothing (QEMU >= 6.0). */
function device(properties: Record<string, unknown>): string[] {
  return ['-device', JSON.stringify(properties)];
}

/** `-object` with JSON (QEMU >= 6.0). */
export function object(properties: Record<string, unknown>): string[] {
  return ['-object', JSON.stringify(properties)];
}

/** The devices that every guest has: agent ports, entropy, and bridges for what is plugged later. */
export function bootDevices(config: HypervisorConfig, runtimeFolder: string): string[] {
  const microvm = config.machineType === 'microvm';
  const suffix = microvm ? 'device' : 'pci';
  const argv: string[] = [];
  if (!microvm) argv.push(...bridges(config));
  argv.push(...device({ driver: `virtio-serial-${suffix}`, id: 'serial0', max_ports: agentPorts + 1 }));
  for (let port = 0; port < agentPorts; port++) {
    const path = quoted(vmmFiles.agentSocket(runtimeFolder, port));
    argv.push('-chardev', `socket,id=charch${port},path=${path},server=on,wait=off`);
    argv.push(
      ...device({
        driver: 'virtserialport',
        chardev: `charch${port}`,
        id: `channel${port}`,
        name: `agent.channel.${port}`,
      }),
    );
  }
  argv.push(...object({ 'qom-type': 'rng-random', id: 'rng0', filename: config.entropySource }));
  argv.push(...device({ driver: `virtio-rng-${suffix}`, rng: 'rng0', id: 'rng' }));
  return argv;
}

/** PCI bridges, at the addresses that virtcontainers gives them: from 2 on. */
function bridges(config: HypervisorConfig): string[] {
  const bus = config.machineType === 'pc' ? 'pci.0' : 'pcie.0';
  return Array.from({ length: config.defaultBridges }, (_, index) =>
    device({
      driver: 'pci-bridge',
      bus,
      id: `pci-bridge-${index}`,
      chassis_nr: index + 1,
      shpc: true,
      addr: String(2 + index),
    }),
  ).flat();
}
