import type { CustomAssets } from '../asset-type.ts';
import { choice, type FieldSpecs, flag, path, paths, text } from '../field-info.ts';
import type { GuestArch } from '../host.ts';
import type { Param } from '../kernel-params.ts';

/** Fields about what is booted. */
export interface BootConfig {
  /** Architecture of the guest, where it is not the host's: then the VMM emulates it. */
  readonly arch?: GuestArch | undefined;
  /** Kernel the VM boots: absolute path on the host. `Vm.create` also takes `host`: the host's own, with its modules. */
  readonly kernel: string;
  /** Parameters put after ours on the kernel command line. */
  readonly kernelParams: readonly Param[];
  /** Disk image with the root file system. Not together with `initrd`. */
  readonly image?: string | undefined;
  /** Initial ramdisk. Not together with `image`. */
  readonly initrd?: string | undefined;
  /** Firmware (BIOS or UEFI) image. */
  readonly firmware?: string | undefined;
  /** Flash images of the firmware. */
  readonly pflash: readonly string[];
  /** Machine model of the VMM. */
  readonly machineType?: string | undefined;
  /** Options of the machine model. */
  readonly machineAccelerators: readonly string[];
  readonly disableImageNvdimm: boolean;
  /** Files that take precedence over the configured ones. */
  readonly customAssets: CustomAssets;
  readonly debug: boolean;
  /** Folder for the guest's memory when its kernel panics. */
  readonly guestMemoryDumpPath?: string | undefined;
  readonly guestMemoryDumpPaging: boolean;
}

export const bootFields: FieldSpecs<BootConfig> = {
  arch: {
    type: choice('amd64', 'arm64'),
    defaultNote: "the machine type's, or the kernel's, or the host's",
    meaning:
      "Architecture of the guest. One that is not the host's is emulated (TCG), with a default guest of its own.",
  },
  kernel: {
    kataName: 'KernelPath',
    tomlKey: 'kernel',
    type: path,
    defaultNote: "the default guest's kernel",
    meaning: "Kernel the VM boots. Of `Vm.create` and `--kernel` also `host`: this host's own, with its modules.",
  },
  kernelParams: {
    kataName: 'KernelParams',
    tomlKey: 'kernel_params',
    type: { kind: 'params', emptyKey: false },
    default: [],
    meaning: "Parameters put at the end of the kernel command line, where they win over the VMM's.",
  },
  image: {
    kataName: 'ImagePath',
    tomlKey: 'image',
    type: path,
    defaultNote: 'none',
    meaning: 'Disk image with the root file system of the guest. Not together with `initrd`.',
  },
  initrd: {
    kataName: 'InitrdPath',
    tomlKey: 'initrd',
    type: path,
    defaultNote: "the default guest's initrd, when there is no image",
    meaning: 'Initial ramdisk of the guest. Not together with `image`; smaller than the memory.',
  },
  firmware: {
    kataName: 'FirmwarePath',
    tomlKey: 'firmware',
    type: path,
    defaultNote: "the VMM's own",
    meaning: 'Firmware image (BIOS or UEFI).',
  },
  pflash: {
    kataName: 'PFlash',
    tomlKey: 'pflashes',
    type: paths,
    default: [],
    meaning: 'Flash images of the firmware: code first, variables second. On arm64 none or both.',
  },
  machineType: {
    kataName: 'HypervisorMachineType',
    tomlKey: 'machine_type',
    type: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a machine type such as q35'),
    defaultNote: "the VMM's choice",
    meaning: 'Machine model the VMM emulates.',
  },
  machineAccelerators: {
    kataName: 'MachineAccelerators',
    tomlKey: 'machine_accelerators',
    type: {
      kind: 'list',
      of: text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(=[A-Za-z0-9._:-]{1,64})?$/, 'a machine option such as smm=off'),
    },
    default: [],
    meaning: 'Options added to the machine type.',
  },
  disableImageNvdimm: {
    kataName: 'DisableImageNvdimm',
    tomlKey: 'disable_image_nvdimm',
    type: flag,
    default: false,
    meaning: 'Attach `image` as a block device even where the machine has nvdimm.',
  },
  customAssets: {
    kataName: 'customAssets',
    type: { kind: 'assets' },
    default: {},
    meaning: 'Files that take precedence over the configured ones, by type, each with an optional SHA-512.',
  },
  debug: {
    kataName: 'Debug',
    tomlKey: 'enable_debug',
    type: flag,
    default: false,
    meaning: 'Have the VMM and the guest kernel log more.',
  },
  guestMemoryDumpPath: {
    tomlKey: 'guest_memory_dump_path',
    type: path,
    defaultNote: 'none',
    meaning:
      'A guest whose kernel panics stays, paused, and its memory is written into this folder when somebody watches it (`watch`, `check`).',
  },
  guestMemoryDumpPaging: {
    tomlKey: 'guest_memory_dump_paging',
    type: flag,
    default: false,
    meaning: 'Sort the dump by the addresses of the guest kernel, which takes longer and needs a trusted guest.',
  },
};
