import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NamedDevice } from '../../../../src/hypervisors/device.ts';
import { canLeave, guestPath, type Placed, placeDevice } from '../../../../src/hypervisors/qemu/devices-place.ts';

/*
 * Where devices are plugged, over any order of plugging and unplugging.
 */

const machines = ['q35', 'pc', 'pc-q35-7.2'] as const;
const seed = Number(process.env['POLYVISOR_SEED'] ?? Date.now() % 2 ** 31);

const config = (machineType: string, defaultBridges: number, hotplugVfioOnRootBus = false) => ({
  machineType,
  defaultBridges,
  pcieRootPorts: machineType === 'pc' ? undefined : 2,
  hotplugVfioOnRootBus,
  blockDeviceDriver: 'virtio-blk' as const,
});

const kinds = {
  disk: (id: string): NamedDevice => ({ kind: 'block', id, path: `/${id}`, format: 'raw', readOnly: true }),
  scsi: (id: string): NamedDevice => ({
    kind: 'block',
    id,
    path: `/${id}`,
    format: 'raw',
    readOnly: true,
    driver: 'virtio-scsi',
  }),
  net: (id: string): NamedDevice => ({ kind: 'net', id }),
  port: (id: string): NamedDevice => ({ kind: 'serial-port', id, name: id }),
  vfio: (id: string): NamedDevice => ({ kind: 'vfio', id, address: '0000:03:00.0' }),
};

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ plug: fc.constantFrom(...Object.values(kinds)) }) },
  { weight: 1, arbitrary: fc.record({ unplug: fc.nat(200) }) },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Goes through the steps; what has no place any more is left out. */
function placedBy(steps: readonly Step[], at: ReturnType<typeof config>): { present: Placed[]; refused: number } {
  let present: Placed[] = [];
  let refused = 0;
  for (const [number, one] of steps.entries()) {
    if ('plug' in one) {
      try {
        present = [...present, ...placeDevice(present, one.plug(`d${number}`), at)];
      } catch (error) {
        expect(error).toMatchObject({ code: 'BUSY' });
        refused++;
      }
    } else {
      const devices = present.filter(({ device }) => device.kind !== 'controller');
      const gone = devices[one.unplug % Math.max(1, devices.length)];
      present = present.filter((other) => other !== gone);
    }
  }
  return { present, refused };
}

describe.each(machines)('%s', (machineType) => {
  it('never gives one place to two devices, nor one outside its bus, and says each as a path of its own', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 3 }), (steps, bridges) => {
        const at = config(machineType, bridges);
        const { present } = placedBy(steps, at);
        const places = present.map(({ place }) => `${place.bus}/${place.slot}`);
        expect(new Set(places).size).toBe(places.length);
        for (const { place } of present.filter(({ place: { bus } }) => bus.startsWith('pci-bridge-'))) {
          expect(place.slot).toBeGreaterThanOrEqual(1);
          expect(place.slot).toBeLessThanOrEqual(30);
        }
        const paths = present.map((placed) => guestPath(placed, present, at)).filter((path) => path !== undefined);
        expect(new Set(paths).size).toBe(paths.length);
        for (const path of paths) expect(path).toMatch(/^[0-9a-f]{2}\/[0-9a-f]{2}(\/\d+:\d+)?$/);
      }),
      { seed, numRuns: 200 },
    );
  });

  it('uses every slot before it refuses, and a slot that came free at once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.nat(29), (bridges, freed) => {
        const at = config(machineType, bridges);
        const full = placedBy(
          Array.from({ length: bridges * 30 }, () => ({ plug: kinds.net })),
          at,
        );
        expect(full).toMatchObject({ refused: 0, present: { length: bridges * 30 } });
        expect(() => placeDevice(full.present, kinds.net('more'), at)).toThrow('no more bridge slots available');
        const [gone] = full.present.splice(freed, 1);
        expect(placeDevice(full.present, kinds.net('more'), at)).toEqual([
          { device: kinds.net('more'), place: gone?.place },
        ]);
      }),
      { seed, numRuns: 20 },
    );
  });

  it('makes a controller with the first device that needs it, and one only', () => {
    const at = config(machineType, 1);
    const { present } = placedBy(
      [{ plug: kinds.scsi }, { plug: kinds.port }, { plug: kinds.scsi }, { plug: kinds.port }],
      at,
    );
    expect(present.map(({ device }) => device.id)).toEqual(['scsi0', 'd0', 'serial1', 'd1', 'd2', 'd3']);
    expect(present.map(({ place }) => `${place.bus}:${place.slot}`)).toEqual([
      'pci-bridge-0:1',
      'scsi0.0:0',
      'pci-bridge-0:2',
      'serial1.0:1',
      'scsi0.0:1',
      'serial1.0:2',
    ]);
    expect(present.map((placed) => guestPath(placed, present, at))).toEqual([
      '02/01',
      '02/01/0:0',
      '02/02',
      undefined,
      '02/01/0:1',
      undefined,
    ]);
  });
});

it('puts devices of the host on root ports where the configuration says so, and no more than there are', () => {
  const at = config('q35', 1, true);
  const first = placeDevice([], kinds.vfio('a'), at);
  const second = placeDevice(first, kinds.vfio('b'), at);
  expect([...first, ...second].map(({ place }) => place.bus)).toEqual(['rp0', 'rp1']);
  expect(() => placeDevice([...first, ...second], kinds.vfio('c'), at)).toThrow('no more root ports available');
});

it('uses root ports first on virt, and bridges, in which devices stay, for what it starts with', () => {
  const at = config('virt', 1);
  let present: Placed[] = [];
  const put = (device: NamedDevice, running: boolean): void => {
    present = [...present, ...placeDevice(present, device, at, running)];
  };
  for (const name of ['a', 'b', 'c']) put(kinds.disk(name), false);
  expect(present.map((placed) => guestPath(placed, present, at))).toEqual(['08/00', '09/00', '02/01']);
  expect(present.map((placed) => canLeave(placed, at))).toEqual([true, true, false]);
  expect(() => put(kinds.net('d'), true)).toThrow('no more root ports available');
  present = present.filter(({ device }) => device.id !== 'a');
  put(kinds.net('d'), true);
  expect(guestPath(present.at(-1) as Placed, present, at)).toBe('08/00');
});

it('has no places on a machine without PCI, but takes what sits on MMIO', () => {
  const at = config('microvm', 1);
  expect(placeDevice([], kinds.disk('a'), at)).toMatchObject([{ place: { bus: 'mmio' } }]);
  expect(() => placeDevice([], kinds.vfio('b'), at)).toThrow('no PCI bus');
});
