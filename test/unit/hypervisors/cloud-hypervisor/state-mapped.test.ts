import { describe, expect, it } from 'vitest';
import { mappedMemory, mappedState } from '../../../../src/hypervisors/cloud-hypervisor/state-mapped.ts';
import type { VmConfig } from '../../../../src/hypervisors/cloud-hypervisor/wire.ts';

const file = '/saved/memory-ranges';
const gib = 2 ** 30;

interface Mapping {
  gpa: number;
  size: number;
  zone_id?: string;
  virtio_mem?: boolean;
}

function memoryOf(change: Partial<VmConfig['memory']> = {}): VmConfig['memory'] {
  return { size: gib, hotplug_method: 'Acpi', shared: false, hugepages: false, prefault: false, ...change };
}

/** A saved state, as the VMM nests it. */
function stateOf(mappings: readonly Mapping[], ranges: readonly { gpa: number; length: number }[]): string {
  const all = mappings.map((one, slot) => ({ slot, zone_id: 'mem0', virtio_mem: false, file_offset: 0, ...one }));
  const data = JSON.stringify({ memory_ranges: { data: ranges }, guest_ram_mappings: all, boot_ram: gib });
  // No number of JavaScript's.
  const state = data.replace(/\}$/, ',"arch_mem_regions":[{"base":4294967296,"size":18446744073709551615}]}');
  const snapshots = { 'cpu-manager': {}, 'memory-manager': { snapshots: {}, snapshot_data: { state } } };
  return JSON.stringify({ snapshots, snapshot_data: null });
}

function memoryIn(state: string | undefined): {
  memory_ranges: unknown;
  guest_ram_mappings: unknown;
  boot_ram: number;
} {
  const { snapshots } = JSON.parse(state ?? '') as {
    snapshots: { 'memory-manager': { snapshot_data: { state: string } } };
  };
  return JSON.parse(snapshots['memory-manager'].snapshot_data.state) as ReturnType<typeof memoryIn>;
}

const whole = stateOf([{ gpa: 0, size: gib }], [{ gpa: 0, length: gib }]);

describe('memory of a snapshot that is mapped', () => {
  it('is a zone of that file, and nothing is left to be read', () => {
    const state = mappedState(whole, memoryOf({ hotplug_size: gib }));
    expect(mappedMemory(memoryOf({ hotplug_size: gib }), file)).toEqual({
      size: 0,
      hotplug_method: 'Acpi',
      hotplug_size: gib,
      shared: false,
      hugepages: false,
      prefault: false,
      zones: [{ id: 'mem0', size: gib, file, shared: false }],
    });
    const memory = memoryIn(state);
    expect(memory.memory_ranges).toEqual({ data: [] });
    expect(memory.boot_ram).toBe(gib);
    expect(state).toContain(String.raw`\"size\":18446744073709551615}]`);
    expect(JSON.parse(state ?? '')).toMatchObject({ snapshots: { 'cpu-manager': {} }, snapshot_data: null });
  });

  it('lies in the file in the order of the ranges, wherever it is in the guest', () => {
    const mappings = [
      { gpa: 4 * gib, size: 2 * gib },
      { gpa: 0, size: 3 * gib },
    ];
    const ranges = [
      { gpa: 0, length: 3 * gib },
      { gpa: 4 * gib, length: 2 * gib },
    ];
    const state = mappedState(stateOf(mappings, ranges), memoryOf());
    expect(memoryIn(state).guest_ram_mappings).toMatchObject([
      { gpa: 4 * gib, file_offset: 3 * gib },
      { gpa: 0, file_offset: 0 },
    ]);
  });

  it('has another file, if it had one before', () => {
    const zones = [{ id: 'mem0', size: gib, file: '/former', shared: false }];
    const mapped = mappedMemory(memoryOf({ size: 0, zones }), file);
    expect(mapped).toMatchObject({ size: 0, zones: [{ id: 'mem0', size: gib, file, shared: false }] });
  });

  it.each<[what: string, config: Partial<VmConfig['memory']>, state: string]>([
    ['shared', { shared: true }, whole],
    ['of huge pages', { hugepages: true }, whole],
    ["a virtio-mem device's", {}, stateOf([{ gpa: 0, size: gib, virtio_mem: true }], [{ gpa: 0, length: gib }])],
    [
      'of more mappings than ranges',
      {},
      stateOf(
        [
          { gpa: 0, size: gib },
          { gpa: 4 * gib, size: gib },
        ],
        [{ gpa: 0, length: gib }],
      ),
    ],
    [
      'in pieces',
      {},
      stateOf(
        [{ gpa: 0, size: gib }],
        [
          { gpa: 0, length: gib / 2 },
          { gpa: gib / 2, length: gib / 2 },
        ],
      ),
    ],
    ['in no range', {}, stateOf([{ gpa: 0, size: gib }], [])],
    ['in no mapping', {}, stateOf([], [{ gpa: 0, length: gib }])],
    ['of an unknown form', {}, '{"snapshots":{}}'],
    ['written otherwise', {}, whole.replace('memory_ranges', 'memory_ranges ').replace('data', 'data ')],
    ['of no form', {}, '{'],
  ])('is not, if it is %s', (_, change, state) => {
    expect(mappedState(state, memoryOf(change))).toBeUndefined();
  });
});
