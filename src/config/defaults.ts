import type { Arch } from './host.ts';

/** vCPUs of a VM whose config names none. */
export const DEFAULT_VCPUS = 1;
/** Memory of a VM whose config names none, in MiB. */
export const DEFAULT_MEMORY_MIB = 2048;
/** Smallest memory a VM may have, in MiB: less than this does not boot a kernel with an initrd. */
export const MIN_MEMORY_MIB = 64;
/** Smallest memory that an annotation may ask for, in MiB: Kata's MinHypervisorMemory. */
export const MIN_HYPERVISOR_MEMORY_MIB = 256;
/** PCI bridges for hot-plugged devices. */
export const DEFAULT_BRIDGES = 1;
/** Most PCI bridges a VM may have. */
export const MAX_BRIDGES = 5;
/** Largest 9p message, in bytes. */
export const DEFAULT_MSIZE_9P_BYTES = 8192;
/** Slots for hot-plugged memory. */
export const DEFAULT_MEMORY_SLOTS = 10;
/** Host file that feeds the guest's random number device. */
export const DEFAULT_ENTROPY_SOURCE = '/dev/urandom';
/** Folder of vhost-user sockets, where Kata Containers keeps it. */
export const DEFAULT_VHOST_USER_STORE_PATH = '/var/run/kata-containers/vhost-user';

/** Most vCPUs an architecture's machines take, as in virtcontainers. */
export const MAX_VCPUS: Readonly<Record<Arch, number>> = { amd64: 240, arm64: 123, ppc64le: 128, s390x: 248 };

/** Port of the agent on a vsock. Ports below 1024 need a capability inside the guest. */
export const VSOCK_PORT = 1024;
/** Port of the guest's logs on a vsock. */
export const VSOCK_LOGS_PORT = 1025;
/** Device id of the agent's serial port. */
export const SOCKET_DEVICE_ID = 'channel0';
/** Character device id of the agent's serial port. */
export const SOCKET_ID = 'charch0';
/** Name of the agent's serial port, as the guest sees it. */
export const SOCKET_CHANNEL_NAME = 'agent.channel.0';
