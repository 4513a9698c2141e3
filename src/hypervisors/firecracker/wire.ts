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
