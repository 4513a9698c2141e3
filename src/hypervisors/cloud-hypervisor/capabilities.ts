import type { Capabilities, Support } from '../capabilities.ts';
import { ejectsVcpus, has, releaseWith } from './probe-versions.ts';

const noPorts = 'Cloud Hypervisor has no ports on a virtio-serial bus';
const noVhost = 'Cloud Hypervisor ends vsock by itself, on a unix socket: hybrid vsock';
const oneVsock = 'the vsock of the agent is there from the start, and a VM has one';
const byConfig = 'what a VM starts with is what its configuration says';
const noEject = 'this development version of Cloud Hypervisor does not let its guest give a vCPU back; 53.0 does';
const noDebug = 'this Cloud Hypervisor was built without its feature guest_debug, as releases are';

/** What the newest Cloud Hypervisor can do through this driver, when it was built with everything. */
export const capabilities: Capabilities = {
  operations: {
    create: true,
    start: true,
    stop: true,
    pause: true,
    resume: true,
    save: true,
    restore: true,
    dumpMemory: true,
    addDevice: true,
    hotplugAddDevice: true,
    hotplugRemoveDevice: true,
    resizeMemory: true,
    resizeVcpus: true,
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
    fs: { start: true, hotAdd: true, hotRemove: true },
    'serial-port': { start: noPorts, hotAdd: noPorts, hotRemove: noPorts },
    vsock: { start: noVhost, hotAdd: noVhost, hotRemove: noVhost },
    'hybrid-vsock': { start: true, hotAdd: oneVsock, hotRemove: oneVsock },
    vfio: { start: true, hotAdd: true, hotRemove: true },
    'vhost-user': { start: true, hotAdd: true, hotRemove: true },
    cpu: { start: byConfig, hotAdd: true, hotRemove: true },
    memory: { start: byConfig, hotAdd: true, hotRemove: true },
  },
  agent: true,
  sharedMemory: true,
  isolation: true,
};

/** What a program was found to be; undefined as long as that is not known. */
export interface Found {
  version?: string | undefined;
  /** what it was built with, as it says once it runs */
  features?: readonly string[] | undefined;
}

/** What one program can do. */
export function capabilitiesFor({ version, features }: Found): Capabilities {
  const noFormats: Support = `Cloud Hypervisor ${version ?? ''} can't be told the format of a disk: ${releaseWith('imageType')} can`;
  const blocks = version === undefined || has(version, 'imageType');
  return {
    ...capabilities,
    operations: {
      ...capabilities.operations,
      dumpMemory: features === undefined || features.includes('guest_debug') ? true : noDebug,
    },
    devices: {
      ...capabilities.devices,
      ...(blocks ? {} : { block: { start: noFormats, hotAdd: noFormats, hotRemove: noFormats } }),
      ...(ejectsVcpus(version) ? {} : { cpu: { ...capabilities.devices.cpu, hotRemove: noEject } }),
    },
  };
}
