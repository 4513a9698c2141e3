import { DEFAULT_MEMORY_MIB, DEFAULT_MEMORY_SLOTS, MIN_MEMORY_MIB } from '../defaults.ts';
import { type FieldSpecs, flag, integer, path, text } from '../field-info.ts';

/** Fields about memory. */
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
  /** Nodes of the host that each NUMA node of the guest is bound to. */
  readonly numaMapping: readonly string[];
  readonly reclaimGuestFreedMemory: boolean;
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
  numaMapping: {
    tomlKey: 'numa_mapping',
    type: {
      kind: 'list',
      of: text(/^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/, 'numbers of nodes such as 0 or 0-1,3'),
    },
    default: [],
    meaning:
      'NUMA nodes of the guest: one for each entry, which names the nodes of the host that its memory is bound to. Memory and vCPUs are divided evenly.',
  },
  reclaimGuestFreedMemory: {
    tomlKey: 'reclaim_guest_freed_memory',
    type: flag,
    default: false,
    meaning: 'Give back to the host what the guest has freed, by a balloon device with free page reporting.',
  },
};
