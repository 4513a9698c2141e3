import type { HypervisorType } from '../config/hypervisor-type.ts';
import type { VmConfigInput } from '../config/vm-config.ts';
import type { KataVersion } from './report.ts';

/** What Kata's loader does for one VMM. */
export interface KataVmm {
  /** values of keys that the file leaves out, where they differ from polyvisor's own defaults */
  readonly defaults: Readonly<Record<KataVersion, VmConfigInput>>;
  /** how folders are shared when the file doesn't say; absent: not at all */
  readonly sharedFs?: Readonly<Record<KataVersion, 'virtio-9p' | 'virtio-fs'>>;
  /** whether it boots an image, never an initrd */
  readonly imageOnly?: boolean;
  /** whether today's Kata takes a kernel that holds all, without image and initrd */
  readonly kernelAlone?: boolean;
  /** whether Kata keeps VMs of it ready */
  readonly vmCache?: boolean;
  /** whether its vsock is a device of the host; the others' is a socket of the VMM's own */
  readonly hostVsock?: boolean;
  /** whether it boots no guest, so that nothing to boot is asked for */
  readonly noGuest?: boolean;
}

const kernel = '/usr/share/kata-containers/vmlinuz.container';
const kernelOnly: KataVmm['defaults'] = { '1.x': { kernel }, today: { kernel } };

/**
 * By VMM. Kata's default for `path` is QEMU's program whatever the VMM is: for the others it is looked up in PATH here.
 */
export const kataVmms: Readonly<Record<HypervisorType, KataVmm>> = {
  qemu: {
    defaults: {
      '1.x': { kernel, hypervisorPath: '/usr/bin/qemu-lite-system-x86_64', machineType: 'pc' },
      today: { kernel, hypervisorPath: '/usr/bin/qemu-system-x86_64', machineType: 'q35' },
    },
    sharedFs: { '1.x': 'virtio-9p', today: 'virtio-fs' },
    kernelAlone: true,
    vmCache: true,
    hostVsock: true,
  },
  firecracker: { defaults: kernelOnly, kernelAlone: true },
  clh: { defaults: kernelOnly, sharedFs: { '1.x': 'virtio-fs', today: 'virtio-fs' } },
  acrn: {
    defaults: { '1.x': { kernel, hypervisorCtlPath: '/usr/bin/acrnctl' }, today: { kernel } },
    imageOnly: true,
  },
  mock: { defaults: { '1.x': {}, today: {} }, noGuest: true },
};

/** Kata's default of virtio_fs_cache. */
export const virtioFsCacheDefault: Readonly<Record<KataVersion, 'none' | 'never'>> = { '1.x': 'none', today: 'never' };
