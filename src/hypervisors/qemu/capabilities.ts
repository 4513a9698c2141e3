import type { Capabilities } from '../capabilities.ts';

const later = 'this version of the driver does not offer it yet';
const noHybrid = "hybrid vsock is Firecracker's and Cloud Hypervisor's";
const notYet = { start: later, hotAdd: later, hotRemove: later };

/** What QEMU can do through this driver. */
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
    addDevice: later,
    hotplugAddDevice: later,
    hotplugRemoveDevice: later,
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
    block: notYet,
    net: notYet,
    fs: notYet,
    'serial-port': notYet,
    vsock: notYet,
    'hybrid-vsock': { start: noHybrid, hotAdd: noHybrid, hotRemove: noHybrid },
    vfio: notYet,
    'vhost-user': notYet,
    cpu: notYet,
    memory: notYet,
  },
  agent: true,
  isolation: true,
};
