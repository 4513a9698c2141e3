import type { KeyNote } from './report.ts';

const today = (outcome: KeyNote['outcome'], reason: string): KeyNote => ({ outcome, reason, only: 'today' });
const unsupported = (reason: string): KeyNote => today('unsupported', reason);
const noMeaning = (reason: string): KeyNote => today('no-meaning', reason);

const rate = unsupported('polyvisor does not limit the rate of disks and networks');
const tee = unsupported('polyvisor has no confidential guests');
const gpu = unsupported('devices are attached one by one, with Vm.attachDevice');
const verity = unsupported('polyvisor does not set up dm-verity for an image');
const sectors = unsupported("the size of sectors is the VMM's choice");
const iothreads = unsupported('there is one thread for block devices, with enable_iothreads');
const remote = unsupported('polyvisor runs VMs on this host only');
const swap = unsupported('a guest gets no swap device');
const firmwareVolume = unsupported('the variables of the firmware are the second of pflashes');
const overhead = noMeaning('it is for sizing the cgroup of a pod');
const queues = unsupported("the number and length of queues are the VMM's choice");

/**
 * Keys of `[hypervisor.X]`, and annotations, for which there is no configuration field, and why. The others are in the registry of
 * fields, each with its key.
 */
export const hypervisorKeyNotes: ReadonlyMap<string, KeyNote> = new Map<string, KeyNote>([
  ['rootfs_type', unsupported('the kernel finds out the file system of an image by itself')],
  ['rootless', noMeaning('a VMM runs as the user who starts it or, confined by root, as a user of its own')],
  ['disable_selinux', noMeaning('a VMM gets an SELinux label only when selinuxProcessLabel is set')],
  ['disable_guest_selinux', noMeaning('the guest has no SELinux policy of ours')],
  ['default_maxmemory', unsupported('memory can grow as far as the host and the VMM allow')],
  ['virtio_fs_queue_size', queues],
  ['disable_seccomp', noMeaning('`confinement` says how far a VMM is confined')],
  ['seccompsandbox', noMeaning('`confinement` says how far a VMM is confined')],
  ['seccomp_sandbox', noMeaning('`confinement` says how far a VMM is confined')],
  ['hypervisor_loglevel', unsupported('the VMM logs more with enable_debug')],
  ['log_level', unsupported('the VMM logs more with enable_debug')],
  ['hot_plug_vfio', unsupported("where a device is plugged is the driver's choice")],
  ['cold_plug_vfio', unsupported("where a device is plugged is the driver's choice")],
  ['pcie_switch_port', unsupported('PCIe switches are not set up; pcie_root_port is')],
  ['net_rate_limiter_bw_max_rate', rate],
  ['net_rate_limiter_bw_one_time_burst', rate],
  ['net_rate_limiter_ops_max_rate', rate],
  ['net_rate_limiter_ops_one_time_burst', rate],
  ['disk_rate_limiter_bw_max_rate', rate],
  ['disk_rate_limiter_bw_one_time_burst', rate],
  ['disk_rate_limiter_ops_max_rate', rate],
  ['disk_rate_limiter_ops_one_time_burst', rate],
  ['rx_rate_limiter_max_rate', rate],
  ['tx_rate_limiter_max_rate', rate],
  ['kernel_verity_params', verity],
  ['root_hash', verity],
  ['firmware_volume', firmwareVolume],
  ['firmware_volume_hash', firmwareVolume],
  ['block_device_aio', unsupported("how a VMM reads its disks is the driver's choice")],
  ['block_device_logical_sector_size', sectors],
  ['block_device_physical_sector_size', sectors],
  ['blk_logical_sector_size', sectors],
  ['blk_physical_sector_size', sectors],
  ['indep_iothreads', iothreads],
  ['vhost_user_reconnect_timeout_sec', unsupported('a vhost-user device whose back end ends is not connected again')],
  ['extra_monitor_socket', unsupported('a VMM gets one monitor, which polyvisor holds')],
  ['enable_guest_swap', swap],
  ['guest_swap_path', swap],
  ['guest_swap_size_percent', swap],
  ['guest_swap_create_threshold_secs', swap],
  ['use_legacy_serial', noMeaning('every guest has a serial console')],
  ['confidential_guest', tee],
  ['sev_snp_guest', tee],
  ['snp_id_block', tee],
  ['snp_id_auth', tee],
  ['snp_guest_policy', tee],
  ['measurement_algo', tee],
  ['cc_init_data', tee],
  ['tdx_quote_generation_service_socket_port', tee],
  ['remote_hypervisor_socket', remote],
  ['remote_hypervisor_timeout', remote],
  ['default_gpus', gpu],
  ['default_gpu_model', gpu],
  ['vm_rootfs_driver', unsupported('block_device_driver says how disks are attached, that of the root too')],
  ['overhead_vcpus', overhead],
  ['overhead_memory', overhead],
  ['disable_nested_virtualization', unsupported('take the CPU feature away with cpuFeatures')],
  ['queue_size', queues],
  ['num_queues', queues],
  ['network_queues', queues],
  ['guest_extension_images', unsupported('a guest boots one image')],
]);

/** Registered keys that only one of Kata's versions has. */
export const versionedKeys: ReadonlyMap<string, '1.x' | 'today'> = new Map<string, '1.x' | 'today'>([
  ['use_vsock', '1.x'],
  ['enable_swap', '1.x'],
  ['file_mem_backend', '1.x'],
  ['valid_file_mem_backends', '1.x'],
  ['hotplug_vfio_on_root_bus', '1.x'],
  ['enable_numa', 'today'],
  ['numa_mapping', 'today'],
  ['guest_memory_dump_path', 'today'],
  ['guest_memory_dump_paging', 'today'],
  ['reclaim_guest_freed_memory', 'today'],
  ['valid_entropy_sources', 'today'],
]);
