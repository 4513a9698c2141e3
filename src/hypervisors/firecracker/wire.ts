/** Bodies of Firecracker's API that the driver reads or writes (its swagger description, firecracker.yaml). */

/** `GET /` */
export interface InstanceInfo {
  id: string;
  state: 'Not started' | 'Running' | 'Paused';
  vmm_version: string;
}

export interface MachineConfiguration {
  vcpu_count: number;
  mem_size_mib: number;
  smt: boolean;
  huge_pages: 'None' | '2M';
  track_dirty_pages: boolean;
}

export interface BootSource {
  kernel_image_path: string;
  initrd_path?: string;
  boot_args: string;
}

/** A bucket of tokens, a byte or an operation each, that is filled again within `refill_time` ms. */
export interface TokenBucket {
  size: number;
  refill_time: number;
}

export interface RateLimiter {
  bandwidth?: TokenBucket;
  ops?: TokenBucket;
}

/** `socket` in place of `path_on_host`, `is_read_only` and `io_engine` for a vhost-user back end. */
export interface Drive {
  drive_id: string;
  is_root_device: boolean;
  cache_type: 'Unsafe' | 'Writeback';
  is_read_only?: boolean;
  path_on_host?: string;
  io_engine?: 'Sync' | 'Async';
  rate_limiter?: RateLimiter;
  socket?: string;
}

export interface Pmem {
  id: string;
  path_on_host: string;
  root_device: boolean;
  read_only: boolean;
}

export interface NetworkInterface {
  iface_id: string;
  host_dev_name: string;
  guest_mac: string;
  rx_rate_limiter?: RateLimiter;
  tx_rate_limiter?: RateLimiter;
}

/** `GET /hotplug/memory`; sizes in MiB. */
export interface MemoryHotplugStatus {
  total_size_mib: number;
  block_size_mib: number;
  plugged_size_mib: number;
  requested_size_mib: number;
}

/** `GET /balloon/statistics`, as far as it is read; in MiB. */
export interface BalloonStatistics {
  actual_mib: number;
}

export interface SnapshotLoad {
  snapshot_path: string;
  mem_backend: { backend_type: 'File'; backend_path: string };
  track_dirty_pages: boolean;
  resume_vm: boolean;
}

/** Counters of one device in a line of the metrics file: what was counted since the line before. */
export interface BlockMetrics {
  read_bytes: number;
  write_bytes: number;
  read_count: number;
  write_count: number;
}

export interface NetMetrics {
  rx_bytes_count: number;
  tx_bytes_count: number;
  rx_packets_count: number;
  tx_packets_count: number;
}
