import { afterEach, describe, expect, it, vi } from 'vitest';
import { VmError } from '../../../../src/errors.ts';
import type { NamedDevice } from '../../../../src/hypervisors/device.ts';
import {
  contextIds,
  pluggedWithFreeId,
  startedWithFreeId,
} from '../../../../src/hypervisors/qemu/control-context-id.ts';
import type { Placed } from '../../../../src/hypervisors/qemu/devices-place.ts';
import { plugFailure, startFailure } from '../../../../src/hypervisors/qemu/errors.ts';
import { codeOf } from '../../../fakes/failure.ts';

/*
 * A kernel that has given an id to another VM. QEMU's words are those of hw/virtio/vhost-vsock.c, in which the kernel's follow.
 */

const words = 'vhost-vsock: unable to set guest cid: Address already in use';
const takenAtStart = startFailure(
  { code: 1 },
  `2026-01-01T00:00:00.000000Z qemu-system-x86_64: -device {...}: ${words}`,
);
const takenWhilePlugged = plugFailure(new VmError('VMM_FAILED', `device_add: ${words}`), 'vs');

const vsock = (contextId: number | undefined, idChosen?: true): Placed => ({
  device: { kind: 'vsock', id: 'vs', contextId },
  place: { bus: 'pci-bridge-0', slot: 1 },
  idChosen,
});
const disk: Placed = {
  device: { kind: 'block', id: 'd', path: '/d', format: 'raw', readOnly: true },
  place: { bus: 'pci-bridge-0', slot: 2 },
};
const idOf = ([{ device }]: readonly [Placed, ...Placed[]]): unknown =>
  device.kind === 'vsock' ? device.contextId : undefined;

/** A kernel that has given away so many ids before one is free; says which ones it was asked for. */
function kernel(error: VmError, taken: number): { ask: (id?: unknown) => Promise<string>; asked: unknown[] } {
  const asked: unknown[] = [];
  const ask = async (id?: unknown): Promise<string> => {
    asked.push(id);
    if (asked.length <= taken) throw error;
    return 'plugged';
  };
  return { ask, asked };
}

afterEach(() => vi.restoreAllMocks());

describe('at the start', () => {
  it('an id that was chosen and is taken gives way to another, until one is free', async () => {
    vi.spyOn(contextIds, 'choose').mockReturnValueOnce(11).mockReturnValueOnce(12);
    const { ask, asked } = kernel(takenAtStart, 2);
    const start = (devices: readonly Placed[]): Promise<string> => {
      expect(devices[1]).toBe(disk);
      return ask(idOf(devices as [Placed]));
    };
    expect(await startedWithFreeId([vsock(10, true), disk], start)).toBe('plugged');
    expect(asked).toEqual([10, 11, 12]);
  });

  it("the user's own id stays, and that it is taken is an error", async () => {
    const { ask, asked } = kernel(takenAtStart, 1);
    expect(await codeOf(startedWithFreeId([vsock(10)], (devices) => ask(idOf(devices as [Placed]))))).toBe(
      'START_FAILED',
    );
    expect(asked).toEqual([10]);
  });

  it('what has another reason is not tried again, and what never succeeds ends', async () => {
    const other = kernel(startFailure({ code: 1 }, 'qemu: Cannot allocate memory'), 1);
    expect(await codeOf(startedWithFreeId([vsock(10, true)], other.ask))).toBe('START_FAILED');
    expect(other.asked).toHaveLength(1);
    const full = kernel(takenAtStart, 1000);
    expect(await codeOf(startedWithFreeId([vsock(10, true)], full.ask))).toBe('START_FAILED');
    expect(full.asked).toHaveLength(8);
  });
});

describe('while it runs', () => {
  const device = (contextId?: number): NamedDevice => ({ kind: 'vsock', id: 'vs', contextId });

  it('another id is tried where it is ours to choose', async () => {
    const { ask, asked } = kernel(takenWhilePlugged, 3);
    expect(await pluggedWithFreeId(device(), ask)).toBe('plugged');
    expect(asked).toHaveLength(4);
  });

  it.each([
    ["the user's own id", device(10), takenWhilePlugged],
    ['a bus without a place', device(), new VmError('BUSY', 'no more bridge slots available')],
    ['another device', disk.device as NamedDevice, takenWhilePlugged],
  ])('%s is not tried again', async (_, what, error) => {
    const { ask, asked } = kernel(error, 1);
    expect(await codeOf(pluggedWithFreeId(what, ask))).toBe('BUSY');
    expect(asked).toHaveLength(1);
  });
});
