/** A block device. `path` is a file or device of the host; its format is always given, never probed. */
export interface BlockDevice {
  kind: 'block';
  id: string;
  path: string;
  format: 'raw' | 'qcow2';
  readOnly: boolean;
}

/** A network interface on a tap device of the host, or the VMM's own user-mode network. */
export interface NetDevice {
  kind: 'net';
  id: string;
  /** name of the tap device; user mode without it */
  tap?: string;
  mac?: string;
}

/** A folder of the host, shared under a mount tag. */
export interface FsDevice {
  kind: 'fs';
  id: string;
  path: string;
  tag: string;
  readOnly: boolean;
}

/** A port on the virtio-serial bus, served on a unix socket. */
export interface SerialPortDevice {
  kind: 'serial-port';
  id: string;
  name: string;
}

/** AF_VSOCK through the host's vhost-vsock. */
export interface VsockDevice {
  kind: 'vsock';
  id: string;
  contextId: number;
}

/** AF_VSOCK that the VMM ends on a unix socket. */
export interface HybridVsockDevice {
  kind: 'hybrid-vsock';
  id: string;
}

/** A host device handed through by VFIO, named by its PCI address. */
export interface VfioDevice {
  kind: 'vfio';
  id: string;
  address: string;
}

/** A device whose back end is another process on a unix socket. */
export interface VhostUserDevice {
  kind: 'vhost-user';
  id: string;
  type: 'blk' | 'scsi' | 'net' | 'fs';
  socket: string;
}

/** `count` more vCPUs. */
export interface CpuDevice {
  kind: 'cpu';
  count: number;
}

/** Memory in a slot. */
export interface MemoryDevice {
  kind: 'memory';
  sizeMiB: number;
  /** chosen by the driver when absent */
  slot?: number;
}

/** Everything that can be plugged into a VM. */
export type Device =
  | BlockDevice
  | NetDevice
  | FsDevice
  | SerialPortDevice
  | VsockDevice
  | HybridVsockDevice
  | VfioDevice
  | VhostUserDevice
  | CpuDevice
  | MemoryDevice;

export type DeviceKind = Device['kind'];

export const deviceKinds = [
  'block',
  'net',
  'fs',
  'serial-port',
  'vsock',
  'hybrid-vsock',
  'vfio',
  'vhost-user',
  'cpu',
  'memory',
] as const;
