import { DEFAULT_MEMORY_MIB, DEFAULT_MEMORY_SLOTS, MIN_MEMORY_MIB } from '../defaults.ts';
import { type FieldSpecs, flag, integer, path } from '../field-info.ts';

export interface MemoryConfig {
  /** Memory at start, in MiB. */
  readonly memoryMiB: number;
  /** Slots for hot-plugged memory. */
  readonly memorySlots: number;
  /** Address space kept free beyond the memory, in MiB. */
  readonly memoryOffsetMiB?: number | undefined;
  /** Folder of the files that back guest memory. */
  readonly fileBackedMemRootDir?: string | undefined;
  readonly memPrealloc: boolean;
  readonly hugePages: boolean;
  readonly virtioMem: boolean;
  readonly mlock: boolean;
}

/** QEMU's ACPI tables describe at most this many memory slots. */
const MAX_MEMORY_SLOTS = 256;

export const memoryFields: FieldSpecs<MemoryConfig> = {
  memoryMiB: {
    kataName: 'MemorySize',
    tomlKey: 'default_memory',
    type: integer(MIN_MEMORY_MIB),
    unit: 'MiB',
    default: DEFAULT_MEMORY_MIB,
    meaning: "Memory the VM starts with; not above the host's.",
  },
  memorySlots: {
    kataName: 'MemSlots',
    tomlKey: 'memory_slots',
    type: integer(1, MAX_MEMORY_SLOTS),
    unit: 'slots',
    default: DEFAULT_MEMORY_SLOTS,
    meaning: 'How often memory can be hot-plugged.',
  },
  memoryOffsetMiB: {
    kataName: 'MemOffset',
    tomlKey: 'memory_offset',
    type: integer(1),
    unit: 'MiB',
    defaultNote: 'none',
    meaning: 'Address space kept for nvdimm devices, on top of the memory.',
  },
  fileBackedMemRootDir: {
    kataName: 'FileBackedMemRootDir',
    tomlKey: 'file_mem_backend',
    type: path,
    defaultNote: 'anonymous memory',
    meaning: 'Folder in which the guest memory is a file, shared with other processes such as vhost-user back ends.',
  },
  memPrealloc: {
    kataName: 'MemPrealloc',
    tomlKey: 'enable_mem_prealloc',
    type: flag,
    default: false,
    meaning: 'Take all guest memory from the host at start, instead of page by page.',
  },
  hugePages: {
    kataName: 'HugePages',
    tomlKey: 'enable_hugepages',
    type: flag,
    default: false,
    meaning: "Take guest memory from the host's huge pages.",
  },
  virtioMem: {
    kataName: 'VirtioMem',
    tomlKey: 'enable_virtio_mem',
    type: flag,
    default: false,
    meaning: 'Resize memory with a virtio-mem device instead of memory modules.',
  },
  mlock: {
    kataName: 'Mlock',
    tomlKey: 'enable_swap',
    type: flag,
    default: true,
    meaning:
      'With `realtime`: keep guest memory from being swapped out. The inverse of enable_swap in configuration.toml.',
  },
};
