/** Most that passes in a second, averaged; a burst may take one second's worth at once. What is absent is not limited. */
export interface RateLimit {
  bytesPerSecond?: number | undefined;
  operationsPerSecond?: number | undefined;
}

/** What a guest reads of a file or device of the host as a disk. Its format is always given, never probed. */
export interface BlockDevice {
  kind: 'block';
  /** unique in the VM; letters, digits, `-` and `_` */
  id: string;
  /** a file or block device of the host */
  path: string;
  format: 'raw' | 'qcow2';
  /** what the guest writes is refused */
  readOnly: boolean;
  /** how it reaches the guest; default: the configuration's `blockDeviceDriver` */
  driver?: 'virtio-blk' | 'virtio-scsi' | 'nvdimm' | undefined;
  /** the file that a qcow2 image builds on; an image that names one is refused without this */
  backing?: { path: string; format: 'raw' | 'qcow2' } | undefined;
  /** `direct`: past the host's page cache (O_DIRECT); `noFlush`: the guest's flushes do nothing; default: the configuration's */
  cache?: { direct?: boolean | undefined; noFlush?: boolean | undefined } | undefined;
  /** default `threads`; `native` needs `cache.direct` */
  aio?: 'threads' | 'native' | 'io_uring' | undefined;
  /** served by a thread of its own; QEMU, virtio-blk. With `enableIoThreads` those on virtio-scsi have one together */
  ioThread?: boolean | undefined;
  /** what the guest reads as its serial number: at most 20 characters */
  serial?: string | undefined;
  /** reading and writing together; QEMU, Firecracker and Cloud Hypervisor */
  rateLimit?: RateLimit | undefined;
}

/** A network interface. Its other end is in the network namespace in which the VMM runs. */
export interface NetDevice {
  kind: 'net';
  id: string;
  /** name of a tap or macvtap device, which must be there; the VMM's own user-mode network without it */
  tap?: string | undefined;
  /** what kind of device `tap` names; default `tap` */
  tapType?: 'tap' | 'macvtap' | undefined;
  /** made from the VM's id and the device's when absent; of a macvtap its own, and no other */
  mac?: string | undefined;
  /** pairs of queues, 1 to 16; default 1 */
  queues?: number | undefined;
  /** packets go through the host kernel's vhost-net; default: yes where the host has it, unless `disableVhostNet` */
  vhost?: boolean | undefined;
  /** what the guest receives and what it sends, packets as operations; Firecracker and Cloud Hypervisor */
  rateLimit?: { receive?: RateLimit | undefined; send?: RateLimit | undefined } | undefined;
}

/** A folder of the host, shared under a tag that the guest mounts. */
export interface FsDevice {
  kind: 'fs';
  id: string;
  path: string;
  /** what the guest mounts: at most 36 bytes with virtio-fs, 31 with 9p */
  tag: string;
  readOnly: boolean;
  /** default: the configuration's `sharedFs` */
  driver?: 'virtio-fs' | 'virtio-9p' | undefined;
  /** of virtio-fs; default: the configuration's `virtioFsCache` */
  cache?: 'none' | 'never' | 'metadata' | 'auto' | 'always' | undefined;
  /** a window of this size for direct access (DAX) to the host's page cache, in MiB */
  daxSizeMiB?: number | undefined;
}

/** A port on the virtio-serial bus, served on a unix socket in the VMM's folder. */
export interface SerialPortDevice {
  kind: 'serial-port';
  id: string;
  /** what the guest reads in /sys/class/virtio-ports/PORT/name */
  name: string;
}

/** AF_VSOCK through the host's vhost-vsock. */
export interface VsockDevice {
  kind: 'vsock';
  id: string;
  /** from 3 on; a free one is found when absent */
  contextId?: number | undefined;
}

/** AF_VSOCK that the VMM ends on a unix socket. */
export interface HybridVsockDevice {
  kind: 'hybrid-vsock';
  id: string;
}

/** A device of the host handed through by VFIO; it must be bound to vfio-pci, or be a mediated one. */
export interface VfioDevice {
  kind: 'vfio';
  id: string;
  /** PCI address, such as `0000:03:00.0`; or the folder of a mediated device in sysfs */
  address: string;
}

/** A device whose back end is another process, which listens on a unix socket. It needs memory shared with that process. */
export interface VhostUserDevice {
  kind: 'vhost-user';
  id: string;
  type: 'blk' | 'scsi' | 'net' | 'fs';
  socket: string;
  /** of `fs`: what the guest mounts */
  tag?: string | undefined;
  /** of `net`; made up when absent */
  mac?: string | undefined;
  /** of `net`, `blk` and `scsi`; default 1 */
  queues?: number | undefined;
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

/** What kind of device it is. */
export type DeviceKind = Device['kind'];

/** A device that has a name of its own: everything but vCPUs and memory. */
export type NamedDevice = Exclude<Device, CpuDevice | MemoryDevice>;

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

/** Names a device within a VM. */
export function deviceId(device: Device): string {
  if ('id' in device) return device.id;
  return device.kind === 'memory' ? `memory-${device.slot ?? 0}` : 'cpu';
}

/** Whether a VFIO device is a mediated one: a part of a device of the host, named by its folder in sysfs. */
export function isMediated({ address }: VfioDevice): boolean {
  return address.startsWith('/');
}
