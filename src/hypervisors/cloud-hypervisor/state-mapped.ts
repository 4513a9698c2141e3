import type { VmConfig } from './wire.ts';

/*
 * A snapshot's memory is a file of all its ranges, one after the other. Cloud Hypervisor reads them into memory of its own; but a zone that
 * has a file is mapped. So a guest can go on with its memory mapped privately from there: it is told of a zone with that file,
 * and of no ranges that are to be read (restore_memory_regions_and_zones and fill_saved_regions in its memory_manager.rs).
 */

/** Cloud Hypervisor's name of the memory that is no zone of the user's (DEFAULT_MEMORY_ZONE in memory_manager.rs). */
export const zoneId = 'mem0';

interface State {
  snapshots: { 'memory-manager': { snapshot_data: { state: string } } };
}

/** MemoryManagerSnapshotData in memory_manager.rs, as far as it matters here. */
interface MemoryState {
  memory_ranges: { data: readonly { gpa: number; length: number }[] };
  guest_ram_mappings: readonly Mapping[];
}

interface Mapping {
  gpa: number;
  size: number;
  virtio_mem: boolean;
  file_offset: number;
}

/**
 * Memory that is mapped from that file: a zone, or the zones that there were. Pure.
 */
export function mappedMemory({ size, zones, ...others }: VmConfig['memory'], file: string): VmConfig['memory'] {
  const own = zones ?? [{ id: zoneId, size, file, shared: false }];
  return { ...others, size: 0, zones: own.map((zone) => ({ ...zone, file, shared: false })) };
}

/**
 * A saved state with each mapping's place in the memory's file, and without ranges; undefined for memory that can't be mapped: what is
 * shared, huge pages, and a guest's that has a virtio-mem device, whose memory no file backs. Only the mappings and ranges are written anew:
 * there are numbers in it that JavaScript has no exact ones for. Pure.
 */
export function mappedState(state: string, { shared, hugepages }: VmConfig['memory']): string | undefined {
  if (shared || hugepages) return undefined;
  let inner: string;
  let mappings: Mapping[] | undefined;
  try {
    inner = (JSON.parse(state) as State).snapshots['memory-manager'].snapshot_data.state;
    mappings = placed(JSON.parse(inner) as MemoryState);
  } catch {
    // Whether it is damaged or has another form than we know, Cloud Hypervisor itself finds out.
    return undefined;
  }
  const told = inner
    .replace(/"memory_ranges":\{"data":\[[^\]]*\]\}/, '"memory_ranges":{"data":[]}')
    .replace(/"guest_ram_mappings":\[[^\]]*\]/, () => `"guest_ram_mappings":${JSON.stringify(mappings)}`);
  const [before, after, ...others] = state.split(JSON.stringify(inner));
  if (mappings === undefined || after === undefined || others.length > 0) return undefined;
  return isTold(told, mappings) ? `${before}${JSON.stringify(told)}${after}` : undefined;
}

function isTold(inner: string, mappings: readonly Mapping[]): boolean {
  const { memory_ranges: ranges, guest_ram_mappings: found } = JSON.parse(inner) as MemoryState;
  return ranges.data.length === 0 && JSON.stringify(found) === JSON.stringify(mappings);
}

/** Every mapping with its place in the file; undefined when the file does not hold all of them, each in one piece. */
function placed({ memory_ranges: { data }, guest_ram_mappings: mappings }: MemoryState): Mapping[] | undefined {
  const places = new Map<number, { offset: number; length: number }>();
  let offset = 0;
  for (const { gpa, length } of data) {
    places.set(gpa, { offset, length });
    offset += length;
  }
  const found = mappings.flatMap((mapping) => {
    const place = places.get(mapping.gpa);
    if (mapping.virtio_mem || place?.length !== mapping.size) return [];
    return [{ ...mapping, file_offset: place.offset }];
  });
  return found.length === mappings.length && found.length === places.size && found.length > 0 ? found : undefined;
}
