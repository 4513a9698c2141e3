import type { Capabilities, Support } from '../capabilities.ts';
import { has, releaseWith } from './probe-versions.ts';

const lacks = 'Firecracker has no such device';
const noVhost = 'Firecracker ends vsock by itself, on a unix socket: hybrid vsock';
const oneVsock = 'the vsock of the agent is there from the start, and a VM has one';
const noVcpus = 'Firecracker cannot change the number of vCPUs of a running guest';
const vhostAtStart = 'Firecracker takes vhost-user disks at the start only';
const byResize = 'memory at the start is what the configuration says';
const none = { start: lacks, hotAdd: lacks, hotRemove: lacks };

/** What the newest Firecracker can do through this driver, with its devices on a PCI bus. */
export const capabilities: Capabilities = {
  operations: {
    create: true,
    start: true,
    stop: true,
    pause: true,
    resume: true,
    save: true,
    restore: true,
    dumpMemory: 'Firecracker has no dump of memory',
    addDevice: true,
    hotplugAddDevice: true,
    hotplugRemoveDevice: true,
    resizeMemory: true,
    resizeVcpus: noVcpus,
    console: true,
    disconnect: true,
    capabilities: true,
    config: true,
    threadIds: true,
    cleanup: true,
    pids: true,
    toGrpc: true,
    fromGrpc: true,
    check: true,
    saveState: true,
    loadState: true,
    generateSocket: true,
  },
  devices: {
    block: { start: true, hotAdd: true, hotRemove: true },
    net: { start: true, hotAdd: true, hotRemove: true },
    fs: none,
    'serial-port': none,
    vsock: { start: noVhost, hotAdd: noVhost, hotRemove: noVhost },
    'hybrid-vsock': { start: true, hotAdd: oneVsock, hotRemove: oneVsock },
    vfio: none,
    'vhost-user': { start: true, hotAdd: vhostAtStart, hotRemove: vhostAtStart },
    cpu: { start: noVcpus, hotAdd: noVcpus, hotRemove: noVcpus },
    memory: { start: byResize, hotAdd: true, hotRemove: true },
  },
  agent: true,
  sharedMemory: true,
  isolation: true,
};

/** What a version can do. @param pci whether its devices are on a PCI bus */
export function capabilitiesFor(version: string | undefined, pci: boolean): Capabilities {
  if (pci && has(version, 'pciHotplug')) return capabilities;
  const why: Support = pci
    ? `Firecracker ${version ?? ''} cannot plug them into a running guest: ${releaseWith('pciHotplug')} can`
    : 'with the machine type mmio devices are there from the start';
  return {
    ...capabilities,
    devices: { ...capabilities.devices, net: { start: true, hotAdd: why, hotRemove: why } },
  };
}
