/** Bodies of Cloud Hypervisor's API that the driver reads or writes (its description, cloud-hypervisor.yaml). Sizes are in bytes. */

export interface VmConfig {
  cpus: { boot_vcpus: number; max_vcpus: number };
  memory: { size: number; shared?: boolean; hugepages?: boolean; prefault?: boolean };
  payload: { kernel: string; initramfs?: string; cmdline: string };
  serial: { mode: 'Off' | 'File' | 'Socket'; file?: string; socket?: string };
  console: { mode: 'Off' };
  rng: { src: string };
  vsock: { cid: number; socket: string };
}

/** `GET /vm.info` */
export interface VmInfo {
  state: 'Created' | 'Running' | 'Shutdown' | 'Paused' | 'BreakPoint';
  config: VmConfig;
  memory_actual_size?: number;
}
