/** Answers of the QMP commands that the driver uses (QEMU's QAPI schema: qapi/run-state.json, qapi/machine.json). */

export interface StatusInfo {
  status: RunState;
  running: boolean;
}

/** QAPI's RunState. */
export type RunState =
  | 'colo'
  | 'debug'
  | 'finish-migrate'
  | 'guest-panicked'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog';

export interface CpuInfoFast {
  'cpu-index': number;
  'thread-id': number;
  'qom-path': string;
}

/** A place for a vCPU; `qom-path` is there when it is filled. */
export interface HotpluggableCpu {
  type: string;
  'vcpus-count': number;
  props: Readonly<Record<string, number>>;
  'qom-path'?: string;
}

/** A device that holds memory (qapi/machine.json). */
export type MemoryDeviceInfo =
  | { type: 'dimm'; data: { id?: string; slot: number; size: number; addr: number; memdev: string } }
  | { type: 'virtio-mem'; data: VirtioMemInfo }
  | { type: 'nvdimm' | 'virtio-pmem' | 'sgx-epc'; data: Readonly<Record<string, unknown>> };

/** Sizes in bytes: what the guest uses now, what it was asked to use, what it may use. */
export interface VirtioMemInfo {
  id?: string;
  size: number;
  'requested-size': number;
  'max-size': number;
  /** absent before QEMU 8 */
  'block-size'?: number;
}

/** Counters of a disk, since QEMU started (qapi/block-core.json). */
export interface BlockStats {
  device?: string;
  /** path or id of its front end */
  qdev?: string;
  'node-name'?: string;
  stats: { rd_bytes: number; wr_bytes: number; rd_operations: number; wr_operations: number };
}

/** Part of what `x-query-virtio-status` says, since QEMU 7.2 (qapi/virtio.json). */
export interface VirtioStatus {
  /** each bit by its name, such as `VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready` */
  status: { statuses: readonly string[] };
}

export interface MachineInfo {
  name: string;
  /** the name without a version, of the newest one */
  alias?: string;
}

export interface MigrationInfo {
  /** absent before the first migration */
  status?: 'none' | 'setup' | 'cancelling' | 'cancelled' | 'active' | 'completed' | 'failed' | (string & {});
  'error-desc'?: string;
}

/** A part of an object: a child when its type is `child<...>`. */
export interface QomProperty {
  name: string;
  type: string;
}

/** A disk (qapi/block-core.json). */
export interface BlockInfo {
  device: string;
  /** path or id of its front end */
  qdev?: string;
  inserted?: { ro: boolean };
}
