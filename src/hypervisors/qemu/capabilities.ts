import type { Capabilities } from '../capabilities.ts';

const noHybrid = "hybrid vsock is Firecracker's and Cloud Hypervisor's";
const size = { start: 'the configuration says what it starts with', hotAdd: true, hotRemove: true } as const;
const everywhere = { start: true, hotAdd: true, hotRemove: true } as const;

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
    block: everywhere,
    net: everywhere,
    fs: everywhere,
    'serial-port': everywhere,
    vsock: everywhere,
    'hybrid-vsock': { start: noHybrid, hotAdd: noHybrid, hotRemove: noHybrid },
    vfio: everywhere,
    'vhost-user': everywhere,
    cpu: size,
    memory: size,
  },
  agent: true,
  sharedMemory: true,
  isolation: true,
};
