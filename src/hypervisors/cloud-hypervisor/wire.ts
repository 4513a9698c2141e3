/** Bodies of Cloud Hypervisor's API that the driver reads or writes (its description, cloud-hypervisor.yaml). Sizes are in bytes. */

export interface VmConfig {
  cpus: { boot_vcpus: number; max_vcpus: number; topology?: CpuTopology };
  memory: MemoryConfig;
  payload: { kernel: string; initramfs?: string; cmdline: string };
  serial: { mode: 'File'; file: string };
  console: { mode: 'Pty' };
  rng: { src: string };
  balloon?: { size: number; deflate_on_oom: boolean; free_page_reporting: boolean };
  vsock: { cid: number; socket: string };
  disks?: DiskConfig[];
  pmem?: PmemConfig[];
  net?: NetConfig[];
  fs?: FsConfig[];
  devices?: VfioConfig[];
  landlock_enable?: boolean;
  landlock_rules?: LandlockRule[];
}

/** A path below which files may be read, or written as well. */
export interface LandlockRule {
  path: string;
  access: 'r' | 'rw';
}

interface CpuTopology {
  threads_per_core: number;
  cores_per_die: number;
  dies_per_package: number;
  packages: number;
}

interface MemoryConfig {
  size: number;
  hotplug_method: 'Acpi' | 'VirtioMem';
  hotplug_size?: number;
  shared: boolean;
  hugepages: boolean;
  prefault: boolean;
  /** in place of `size`, which is 0 then */
  zones?: MemoryZone[];
}

/** Memory in a file, or with a policy of its own. */
export interface MemoryZone {
  id: string;
  size: number;
  file?: string;
  shared: boolean;
}

interface TokenBucket {
  size: number;
  /** milliseconds */
  refill_time: number;
}

export interface RateLimiter {
  bandwidth?: TokenBucket;
  ops?: TokenBucket;
}

export interface DiskConfig {
  id: string;
  path?: string;
  readonly?: boolean;
  direct?: boolean;
  /** never left to be found out: a guest could write another format's header */
  image_type?: 'Raw' | 'Qcow2';
  backing_files?: boolean;
  serial?: string;
  num_queues?: number;
  vhost_user?: boolean;
  vhost_socket?: string;
  rate_limiter_config?: RateLimiter;
}

export interface PmemConfig {
  id: string;
  file: string;
  discard_writes: boolean;
}

export interface NetConfig {
  id: string;
  tap?: string;
  mac: string;
  /** two for each pair */
  num_queues: number;
  vhost_user?: boolean;
  vhost_socket?: string;
  rate_limiter_config?: RateLimiter;
}

export interface FsConfig {
  id: string;
  tag: string;
  socket: string;
  num_queues: number;
  queue_size: number;
}

/** A device of the host. */
export interface VfioConfig {
  id: string;
  /** in sysfs */
  path: string;
}

/** The answer to a device that was added to a running guest. */
export interface PciDeviceInfo {
  id: string;
  /** `0000:00:06.0` */
  bdf: string;
}

/** `GET /vmm.ping` */
export interface VmmPing {
  version: string;
  /** what it was built with, such as `guest_debug`; absent before v34 */
  features?: string[];
}

/** `GET /vm.info` */
export interface VmInfo {
  state: 'Created' | 'Running' | 'Shutdown' | 'Paused' | 'BreakPoint';
  config: { memory: { size: number; zones?: MemoryZone[] | null } };
  /** what the guest uses: plugged memory counts, what its balloon holds does not */
  memory_actual_size: number;
  /** by id; absent before the boot */
  device_tree?: Record<string, unknown>;
}

/** `GET /vm.counters`: by device */
export type VmCounters = Record<string, Record<string, number>>;
