import type { Capabilities } from '../capabilities.ts';

const later = 'this version of the driver does not offer it yet';
const lacks = 'Cloud Hypervisor has no such device';
const noVhost = 'Cloud Hypervisor ends vsock by itself, on a unix socket: hybrid vsock';
const notYet = { start: later, hotAdd: later, hotRemove: later };
const none = { start: lacks, hotAdd: lacks, hotRemove: lacks };

/** What Cloud Hypervisor can do through this driver. */
export const capabilities: Capabilities = {
  operations: {
    create: true,
    start: true,
    stop: true,
    pause: true,
    resume: true,
    save: later,
    restore: later,
    dumpMemory: later,
    addDevice: later,
    hotplugAddDevice: later,
    hotplugRemoveDevice: later,
    resizeMemory: later,
    resizeVcpus: later,
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
    block: notYet,
    net: notYet,
    fs: notYet,
    'serial-port': none,
    vsock: { start: noVhost, hotAdd: noVhost, hotRemove: noVhost },
    'hybrid-vsock': notYet,
    vfio: notYet,
    'vhost-user': notYet,
    cpu: notYet,
    memory: notYet,
  },
  agent: true,
  isolation: true,
};
