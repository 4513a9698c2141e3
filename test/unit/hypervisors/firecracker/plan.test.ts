import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../../src/config/vm-config.ts';
import type { PlannedRequest } from '../../../../src/hypervisors/launch-plan.ts';
import { firecracker } from '../../../../src/hypervisors/firecracker/index.ts';
import { addRequest, type OwnDevice, requireOffered } from '../../../../src/hypervisors/firecracker/devices.ts';
import {
  nextSlot,
  pciAddress,
  reservedSlots,
  withSlots,
} from '../../../../src/hypervisors/firecracker/devices-slots.ts';
import { namedExit, startFailure } from '../../../../src/hypervisors/firecracker/errors.ts';
import { planWith } from '../../../../src/hypervisors/firecracker/plan.ts';
import { defectsOf, has, isNewer } from '../../../../src/hypervisors/firecracker/probe-versions.ts';
import { contextFor } from '../fixture.ts';

const targets = (requests: readonly PlannedRequest[]): string[] =>
  requests.map(({ method, target }) => `${method} ${target}`);
const planned = (
  input: VmConfigInput = {},
  version = '1.17.0',
  devices: OwnDevice[] = [],
): ReturnType<typeof planWith> =>
  planWith(contextFor(firecracker, input), '/usr/bin/firecracker', {
    version,
    devices: devices.map((device) => ({ device, name: device.id })),
  });
const disk = (id: string): OwnDevice => ({ kind: 'block', id, path: `/disks/${id}`, format: 'raw', readOnly: true });
const card = (id: string): OwnDevice => ({ kind: 'net', id, tap: id });

describe('the plan', () => {
  it('is told in order, and starts the guest with the last request', () => {
    const all = targets(planned({}, '1.17.0', [disk('d'), card('n')]).requests);
    expect(all.filter((one) => !one.includes('/pool'))).toEqual([
      'PUT /logger',
      'PUT /metrics',
      'PUT /serial',
      'PUT /machine-config',
      'PUT /boot-source',
      'PUT /drives/d',
      'PUT /network-interfaces/n',
      'PUT /vsock',
      'PUT /entropy',
      'PUT /actions',
    ]);
  });

  it('names everything in its folder by relative paths, which a snapshot finds in any folder', () => {
    const { requests, workingFolder } = planned({}, '1.17.0', [disk('d')]);
    const body = (target: string): unknown => requests.find((request) => request.target === target)?.body;
    expect(body('/drives/d')).toMatchObject({ path_on_host: 'disk-d', is_read_only: true, io_engine: 'Sync' });
    expect(body('/vsock')).toMatchObject({ uds_path: 'vsock.sock' });
    expect(workingFolder).toBe('/run/pv/abcdef012345');
  });

  it('is shown the files of a snapshot that it goes on from, in a jail of ours', () => {
    const opened = [{ path: '/snapshots/one/firecracker.mem', access: 'read' as const }];
    const restores = { paths: opened, goesOn: true };
    const withJailer = (input: VmConfigInput): ReturnType<typeof planWith> =>
      planWith(contextFor(firecracker, input), '/usr/bin/firecracker', { version: '1.17.0', devices: [], restores });
    const { paths, requests } = withJailer({});
    expect(paths).toEqual(expect.arrayContaining(opened));
    expect(requests.at(-1)).toMatchObject({ target: '/snapshot/load', body: { resume_vm: true } });
    // The jailer's gets them put into its folder.
    expect(withJailer({ jailerPath: '/usr/bin/jailer' }).paths).toEqual([]);
  });

  it('logs onto its stdout, which is the log of its VMM', () => {
    const logger = planned({ debug: true }).requests.find(({ target }) => target === '/logger');
    expect(logger?.body).toEqual({ level: 'Debug', show_level: true });
  });

  it('has eight drives to swap disks into, behind the disks that are there from the start', () => {
    const drives = (input: VmConfigInput): string[] =>
      targets(planned(input, '1.17.0', [disk('d')]).requests).filter((one) => one.includes('/drives/'));
    expect(drives({})).toEqual(
      ['d', ...Array.from({ length: 8 }, (_, at) => `pool${at}`)].map((id) => `PUT /drives/${id}`),
    );
    expect(drives({ disableBlockDeviceUse: true })).toEqual(['PUT /drives/d']);
  });

  it('has balloon, memory and metadata when they are asked for', () => {
    const hypervisorParams = [{ key: 'mmds', value: '{"role":"test"}' }];
    const all = planned({ virtioMem: true, reclaimGuestFreedMemory: true, hypervisorParams }, '1.17.0', [card('n')]);
    expect(all.requests.find(({ target }) => target === '/hotplug/memory')?.body).toEqual({ total_size_mib: 13_952 });
    expect(targets(all.requests)).toEqual(expect.arrayContaining(['PUT /balloon', 'PUT /mmds/config', 'PUT /mmds']));
  });

  it('goes through the jailer, which is then the confinement', () => {
    const { binary, argv, confinesItself, workingFolder, requests } = planned({ jailerPath: '/usr/bin/jailer' });
    expect([binary, confinesItself, workingFolder]).toEqual(['/usr/bin/jailer', true, undefined]);
    expect(argv.join(' ')).toMatch(
      /^--id abcdef012345 --exec-file \/usr\/bin\/firecracker --uid (\d+) --gid \1 --chroot-base-dir \/run\/pv\/abcdef012345 .*fsize=2147483648 -- --api-sock api\.sock --enable-pci$/,
    );
    expect(requests.find(({ target }) => target === '/boot-source')?.body).toMatchObject({
      kernel_image_path: 'kernel',
    });
  });

  it.each<[VmConfigInput, string]>([
    [{ useVsock: false }, 'useVsock'],
    [{ machineType: 'q35' }, 'machineType'],
    [{ hugePages: true, memoryMiB: 257 }, 'memoryMiB'],
    [{ hypervisorParams: [{ key: 'no-seccomp', value: '' }] }, 'hypervisorParams'],
    [{ hypervisorParams: [{ key: 'mmds', value: '[]' }] }, 'hypervisorParams'],
  ])('refuses %o', (input, field) => {
    expect(() => planned(input)).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', facts: expect.objectContaining({ field }) }),
    );
  });

  it('refuses an id that the jailer does not take', () => {
    for (const id of ['x'.repeat(65), 'under_score', '']) {
      const context = contextFor(firecracker, { jailerPath: '/usr/bin/jailer' }, { id });
      expect(() => firecracker.plan(context, '/usr/bin/firecracker')).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', facts: expect.objectContaining({ field: 'id' }) }),
      );
    }
  });

  it('refuses a jail whose sockets would have too long paths', () => {
    const context = contextFor(firecracker, { jailerPath: '/usr/bin/jailer' }, { runtimeFolder: `/${'x'.repeat(70)}` });
    expect(() => firecracker.plan(context, '/usr/bin/firecracker')).toThrow(/path over 107 bytes/);
  });
});

describe('devices', () => {
  const { config } = contextFor(firecracker);

  it.each<[string, object]>([
    ['format', { ...disk('d'), format: 'qcow2' }],
    ['driver', { ...disk('d'), driver: 'virtio-scsi' }],
    ['cache.direct', { ...disk('d'), cache: { direct: true } }],
    ['aio', { ...disk('d'), aio: 'native' }],
    ['ioThread', { ...disk('d'), ioThread: true }],
    ['serial', { ...disk('d'), serial: 'S' }],
    ['tap', { kind: 'net', id: 'n' }],
    ['tapType', { ...card('n'), tapType: 'macvtap' }],
    ['queues', { ...card('n'), queues: 2 }],
    ['vhost', { ...card('n'), vhost: true }],
    ['type', { kind: 'vhost-user', id: 'v', type: 'net', socket: '/s' }],
  ])('refuses what it has not: %s', (field, device) => {
    expect(() => requireOffered(device as OwnDevice, config)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', facts: expect.objectContaining({ field }) }),
    );
  });

  it('are limited by buckets that fill each second', () => {
    const device = { ...disk('d'), rateLimit: { bytesPerSecond: 1000, operationsPerSecond: 10 } } as OwnDevice;
    expect(addRequest({ device, name: 'd' }, { id: 'x', config }).body).toMatchObject({
      rate_limiter: { bandwidth: { size: 1000, refill_time: 1000 }, ops: { size: 10, refill_time: 1000 } },
    });
  });

  it('get the lowest free number on the bus', () => {
    const cold = withSlots(
      [card('n'), disk('a'), disk('b')].map((device) => ({ device, name: device.id })),
      config,
    );
    expect(cold.map(({ slot }) => slot)).toEqual([11, 1, 2]);
    const reserved = reservedSlots(cold, config);
    expect(reserved).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 12, 13]);
    expect([nextSlot(cold, reserved), nextSlot(cold.slice(0, 2), reserved)]).toEqual([14, 2]);
    expect(pciAddress(17)).toBe('0000:00:11.0');
  });
});

describe('versions', () => {
  it('tell what there is, and what is wrong', () => {
    expect([has('1.15.1', 'pciHotplug'), has('1.16.0', 'pciHotplug'), has('2.0.0', 'pciHotplug')]).toEqual([
      false,
      true,
      true,
    ]);
    expect([has('1.16.1', 'bzImage'), has('1.17.0-dev', 'bzImage')]).toEqual([false, true]);
    expect(['1.15.0', '1.16.0', '1.16.1', '1.17.0-dev'].map((version) => defectsOf(version).length)).toEqual([
      0, 1, 1, 0,
    ]);
    expect([isNewer('1.17.0', '1.16.9'), isNewer('1.16.1', '1.16.1'), isNewer('1.9.0', '1.16.0')]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe('exits', () => {
  it("are Firecracker's own above 128, which a shell reads as signals", () => {
    expect(namedExit({ signal: 'SIGTSTP' })).toMatchObject({
      code: 148,
      reason: expect.stringContaining('bad system call'),
    });
    expect(namedExit({ signal: 'SIGTTOU' })).toMatchObject({ code: 150, reason: 'segmentation fault' });
    expect(namedExit({ signal: 'SIGKILL' })).toEqual({ signal: 'SIGKILL' });
    expect(namedExit({ code: 0 })).toEqual({ code: 0 });
    expect(startFailure({ signal: 'SIGVTALRM' }, '').rawMessage).toContain('exit code 154 (out of processor time)');
  });
});
