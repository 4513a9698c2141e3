import type { Capabilities } from '../capabilities.ts';

const later = 'this version of the driver does not offer it yet';
const lacks = 'Firecracker has no such device';
const noVhost = 'Firecracker ends vsock by itself, on a unix socket: hybrid vsock';
const notYet = { start: later, hotAdd: later, hotRemove: later };
const none = { start: lacks, hotAdd: lacks, hotRemove: lacks };

/** What Firecracker can do through this driver. */
export const capabilities: Capabilities = {
  operations: {
    create: true,
    start: true,
    stop: true,
    pause: true,
    resume: true,
    save: later,
    restore: later,
    dumpMemory: 'Firecracker has no dump of memory',
    addDevice: later,
    hotplugAddDevice: later,
    hotplugRemoveDevice: later,
    resizeMemory: later,
    resizeVcpus: 'Firecracker cannot change the number of vCPUs of a running guest',
    console: true,
    disconnect: true,
    capabilities: true,
    config: true,
    threadIds: true,
    cleanup: true,
    pids: true,
    toGrpc: later,
    fromGrpc: later,
    check: true,
    saveState: true,
    loadState: true,
    generateSocket: true,
  },
  devices: {
    block: notYet,
    net: notYet,
    fs: none,
    'serial-port': none,
    vsock: { start: noVhost, hotAdd: noVhost, hotRemove: noVhost },
    'hybrid-vsock': notYet,
    vfio: none,
    'vhost-user': notYet,
    cpu: none,
    memory: notYet,
  },
  agent: true,
  isolation: true,
};
