import type { Capabilities } from '../capabilities.ts';

const lacks = 'acrn-dm has no such device';
const noState = 'acrn-dm can neither pause a guest nor save it';
const noDump = 'acrn-dm has no dump of memory';
const fixedCpus = 'the vCPUs of an ACRN guest are set when it is created';
const fixedMemory = 'the memory of an ACRN guest is set when it is created';
const noThreads = 'the hypervisor below the host runs its vCPUs, which are no threads of the host';
const noUnplug = 'acrn-dm cannot take a disk away again';
const atStart = 'acrn-dm takes it at the start only';
const hybrid = 'hybrid vsock is of other VMMs; this one has vhost-vsock';
const passThrough = 'this driver hands no devices of the host through: what acrn-dm needs for that could not be tried';
const none = { start: lacks, hotAdd: lacks, hotRemove: lacks };
const startOnly = { start: true, hotAdd: atStart, hotRemove: atStart } as const;

/** What acrn-dm can do through this driver. */
export const capabilities: Capabilities = {
  operations: {
    create: true,
    start: true,
    stop: true,
    pause: noState,
    resume: noState,
    save: noState,
    restore: noState,
    dumpMemory: noDump,
    addDevice: true,
    hotplugAddDevice: true,
    hotplugRemoveDevice: noUnplug,
    resizeMemory: fixedMemory,
    resizeVcpus: fixedCpus,
    console: true,
    disconnect: true,
    capabilities: true,
    config: true,
    threadIds: noThreads,
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
    block: { start: true, hotAdd: true, hotRemove: noUnplug },
    net: startOnly,
    fs: none,
    'serial-port': startOnly,
    vsock: startOnly,
    'hybrid-vsock': { start: hybrid, hotAdd: hybrid, hotRemove: hybrid },
    vfio: { start: passThrough, hotAdd: passThrough, hotRemove: passThrough },
    'vhost-user': none,
    cpu: { start: fixedCpus, hotAdd: fixedCpus, hotRemove: fixedCpus },
    memory: { start: fixedMemory, hotAdd: fixedMemory, hotRemove: fixedMemory },
  },
  agent: true,
  sharedMemory: noState,
  isolation: true,
};
