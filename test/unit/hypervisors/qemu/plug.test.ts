import { afterEach, describe, expect, it } from 'vitest';
import type { NamedDevice } from '../../../../src/hypervisors/device.ts';
import { plugDevice, unplugDevice } from '../../../../src/hypervisors/qemu/control-devices.ts';
import type { Placed } from '../../../../src/hypervisors/qemu/devices-place.ts';
import { qemu } from '../../../../src/hypervisors/qemu/index.ts';
import { codeOf, failure } from '../../../fakes/failure.ts';
import { fakeMonitor, type FakeMonitor, type QmpAnswer } from '../../../fakes/qmp-monitor.ts';
import { contextFor } from '../fixture.ts';

/*
 * A monitor that plays QEMU, for what a real one does too seldom: failing half-way, and guests that keep what they have.
 */

let monitor: FakeMonitor | undefined;
afterEach(async () => {
  await monitor?.qmp.close();
  monitor = undefined;
});

const context = contextFor(qemu, { sharedFs: 'virtio-fs', virtioFsDaemon: '/usr/lib/qemu/virtiofsd' });
const at = (device: NamedDevice): Placed => ({ device, place: { bus: 'pci-bridge-0', slot: 3 } });
const disk = at({
  kind: 'block',
  id: 'disk0',
  path: '/a, "b".img',
  format: 'raw',
  readOnly: false,
  driver: 'virtio-blk',
  ioThread: true,
});
const net = at({ kind: 'vhost-user', id: 'net0', type: 'net', socket: '/s' });
const deleted = (path: string): { event: string; data: object } => ({ event: 'DEVICE_DELETED', data: { path } });

async function machine(answers: Readonly<Record<string, QmpAnswer>>): Promise<FakeMonitor['qmp']> {
  const read = { qdev: '/machine/peripheral/disk0/virtio-backend', stats: { rd_operations: 1 } };
  const known: Record<string, QmpAnswer> = {
    'query-blockstats': { value: [read] },
    'x-query-virtio-status': { value: { status: { statuses: ['VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready'] } } },
    'qom-list': { value: [{ name: 'disk0', type: 'child<virtio-blk-pci>' }] },
    ...answers,
  };
  monitor = await fakeMonitor((command) => known[command]);
  return monitor.qmp;
}
/** What was written down. */
let written: string[] = [];
const notes = {
  added: async (): Promise<void> => void written.push('added'),
  takenBack: async (): Promise<void> => void written.push('taken back'),
};
afterEach(() => {
  written = [];
});
const commands = (): string[] => monitor?.asked.map(({ execute }) => execute) ?? [];

describe('plugging', () => {
  it('makes what is behind a device first, and waits until the guest has it', async () => {
    const qmp = await machine({});
    await plugDevice(qmp, disk, context, {}, notes);
    expect(commands()).toEqual(['object-add', 'blockdev-add', 'device_add', 'query-blockstats']);
    expect(written).toEqual(['added']);
    expect(monitor?.asked[2]?.arguments).toMatchObject({ bus: 'pci-bridge-0', addr: '3', iothread: 'thread-disk0' });
  });

  it.each([
    ['object-add', []],
    ['blockdev-add', ['object-del']],
    ['device_add', ['blockdev-del', 'object-del']],
  ])('leaves nothing when %s fails', async (step, undone) => {
    const qmp = await machine({ [step]: { error: 'no' } });
    const error = await failure(plugDevice(qmp, disk, context, {}, notes));
    expect(error).toMatchObject({ code: 'VMM_FAILED', rawMessage: `disk0 can't be plugged: ${step}: no` });
    expect(commands().slice(commands().indexOf(step) + 1)).toEqual(undone);
  });

  it('takes several back ends back in the order in which nothing is in use', async () => {
    const qmp = await machine({ device_add: { error: 'no' } });
    await failure(plugDevice(qmp, net, context, {}, notes));
    expect(commands()).toEqual(['chardev-add', 'netdev_add', 'device_add', 'netdev_del', 'chardev-remove']);
  });

  it('says what stays when that can not be taken back', async () => {
    const qmp = await machine({ device_add: { error: 'no' }, 'blockdev-del': { error: 'it is in use' } });
    const error = await failure(plugDevice(qmp, disk, context, {}, notes));
    expect(error.rawMessage).toContain("disk0 can't be plugged");
    expect(error.facts.log).toContain('it is in use');
  });

  it.each([
    ['Failed to get "write" lock', 'BUSY'],
    ['Failed to get shared "write" lock', 'BUSY'],
    ['file system may not support O_DIRECT: does not support O_DIRECT', 'UNSUPPORTED'],
    ['anything else', 'VMM_FAILED'],
  ])('knows what QEMU means by %j', async (text, code) => {
    const qmp = await machine({ 'blockdev-add': { error: text } });
    expect(await codeOf(plugDevice(qmp, disk, context, {}, notes))).toBe(code);
  });

  it('goes on without a word from a QEMU that can not say whether the guest drives it', async () => {
    const qmp = await machine({
      'x-query-virtio-status': { error: 'The command x-query-virtio-status has not been found' },
    });
    await plugDevice(qmp, net, context, {}, notes);
    expect(commands().at(-1)).toBe('x-query-virtio-status');
  });
});

describe('a caller that gives up while the guest takes a device', () => {
  const path = '/machine/peripheral/disk0';
  const unread = { value: [{ qdev: `${path}/virtio-backend`, stats: { rd_operations: 0 } }] };
  const giveUp = (qmp: FakeMonitor['qmp']): Promise<void> =>
    plugDevice(qmp, disk, context, { signal: AbortSignal.timeout(30) }, notes);

  it('gets nothing: the guest is asked to give it back', async () => {
    const qmp = await machine({ 'query-blockstats': unread, device_del: { events: [deleted(path)] } });
    await expect(giveUp(qmp)).rejects.toThrow(/abort/i);
    expect(commands().filter((command) => command !== 'query-blockstats')).toEqual([
      ...['object-add', 'blockdev-add', 'device_add', 'qom-list', 'device_del', 'blockdev-del', 'object-del'],
    ]);
    expect(written).toEqual(['added', 'taken back']);
  });

  it('is told when the guest keeps it, and it stays written down', async () => {
    const kept = [{ event: 'DEVICE_UNPLUG_GUEST_ERROR', data: { path } }];
    const qmp = await machine({ 'query-blockstats': unread, device_del: { events: kept } });
    const error = await failure(giveUp(qmp));
    expect(error.facts.log).toBe('the guest does not give disk0 back: it stays attached');
    expect(commands()).not.toContain('blockdev-del');
    expect(written).toEqual(['added']);
  });
});

describe('unplugging', () => {
  const path = '/machine/peripheral/disk0';

  it('waits for the device itself, not for a part of it, before it takes away what is behind', async () => {
    const qmp = await machine({ device_del: { events: [deleted(`${path}/virtio-backend`), deleted(path)] } });
    await unplugDevice(qmp, disk, context, {});
    expect(commands()).toEqual(['qom-list', 'device_del', 'blockdev-del', 'object-del']);
  });

  it('has a time limit, and leaves all as it is when it is over', async () => {
    const qmp = await machine({ device_del: { events: [deleted(`${path}/virtio-backend`)] } });
    expect(await codeOf(unplugDevice(qmp, disk, context, { signal: AbortSignal.timeout(50) }))).toBe('ABORTED');
    expect(commands()).toEqual(['qom-list', 'device_del']);
  });

  it('is told by the guest that it keeps the device', async () => {
    const qmp = await machine({ device_del: { events: [{ event: 'DEVICE_UNPLUG_GUEST_ERROR', data: { path } }] } });
    const error = await failure(unplugDevice(qmp, disk, context, {}));
    expect(error).toMatchObject({ code: 'GUEST_REFUSED', rawMessage: 'the guest keeps the device disk0' });
    expect(commands()).not.toContain('blockdev-del');
  });

  it('goes on waiting for what an earlier call has asked for', async () => {
    const busy = 'Device disk0 is already in the process of unplug';
    const qmp = await machine({ device_del: { error: busy } });
    expect(await codeOf(unplugDevice(qmp, disk, context, { signal: AbortSignal.timeout(50) }))).toBe('ABORTED');
  });

  it('only clears up after a device that the guest gave back when nobody waited any more', async () => {
    const missing = "Failed to find node with node-name='drive-disk0'";
    const qmp = await machine({ 'qom-list': { value: [] }, 'blockdev-del': { error: missing } });
    await unplugDevice(qmp, disk, context, {});
    expect(commands()).toEqual(['qom-list', 'blockdev-del', 'object-del']);
  });
});
