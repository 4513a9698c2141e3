import type { Capabilities } from '../capabilities.ts';

const later = 'this version of the driver does not offer it yet';
const noHybrid = "hybrid vsock is Firecracker's and Cloud Hypervisor's";
const size = { start: 'the configuration says what it starts with', hotAdd: true, hotRemove: true } as const;
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
    block: notYet,
    net: notYet,
    fs: notYet,
    'serial-port': notYet,
    vsock: notYet,
    'hybrid-vsock': { start: noHybrid, hotAdd: noHybrid, hotRemove: noHybrid },
    vfio: notYet,
    'vhost-user': notYet,
    cpu: size,
    memory: size,
  },
  agent: true,
  isolation: true,
};
