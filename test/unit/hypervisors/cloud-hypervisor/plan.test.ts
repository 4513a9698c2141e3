import { describe, expect, it } from 'vitest';
import type { VmConfigInput } from '../../../../src/config/vm-config.ts';
import { VmError } from '../../../../src/errors.ts';
import { cloudHypervisor } from '../../../../src/hypervisors/cloud-hypervisor/index.ts';
import type { OwnDevice } from '../../../../src/hypervisors/cloud-hypervisor/devices.ts';
import { planWith } from '../../../../src/hypervisors/cloud-hypervisor/plan.ts';
import { contextFor } from '../fixture.ts';

const shared = { virtioFsDaemon: '/usr/libexec/virtiofsd', sharedFs: 'virtio-fs' } as const;
const planned = (
  input: VmConfigInput = {},
  devices: readonly OwnDevice[] = [],
  version = '53.0',
): { argv: string; config: Record<string, never>; paths: string[] } => {
  const plan = planWith(contextFor(cloudHypervisor, input), '/bin/ch', { devices, version });
  const config = (plan.requests[0]?.body ?? {}) as Record<string, never>;
  return { argv: plan.argv.join(' '), config, paths: plan.paths.map(({ path }) => path) };
};
const codeOf = (action: () => unknown): string => {
  try {
    action();
    return 'passed';
  } catch (error) {
    const { code, facts } = VmError.from(error);
    return `${code} ${facts.field ?? ''}`.trim();
  }
};

describe('what Cloud Hypervisor is told', () => {
  it('runs with its filter of system calls, logs its events, and says more when asked', () => {
    expect(planned().argv).toBe(
      '--api-socket path=/run/pv/abcdef012345/api.sock --event-monitor path=/run/pv/abcdef012345/ev.out --seccomp true -v',
    );
    expect(planned({ debug: true }).argv).toContain('-vv');
    expect(planned({ hypervisorParams: [{ key: '--log-format', value: '{msg}' }] }).argv).toMatch(
      /-v --log-format \{msg\}$/,
    );
  });

  it('has vCPUs that can be added, in one package', () => {
    expect(planned({ vcpus: 2, maxVcpus: 4 }).config).toMatchObject({
      cpus: { boot_vcpus: 2, max_vcpus: 4, topology: { threads_per_core: 1, cores_per_die: 4, packages: 1 } },
    });
  });

  it('has memory that can grow to what the host has, in whole slots', () => {
    const { memory } = planned({ memoryMiB: 1000 }).config;
    expect(memory).toEqual({
      size: 1000 * 2 ** 20,
      hotplug_method: 'Acpi',
      hotplug_size: 14_976 * 2 ** 20,
      shared: false,
      hugepages: false,
      prefault: false,
    });
    expect(planned({ virtioMem: true, hugePages: true, memPrealloc: true, ...shared }).config).toMatchObject({
      memory: { hotplug_method: 'VirtioMem', hugepages: true, prefault: true, shared: true },
    });
    expect(planned({ memoryMiB: 16_000 }).config).not.toHaveProperty('memory.hotplug_size');
  });

  it('logs its serial line, and has a terminal beside it that the agent is told of', () => {
    expect(planned().config).toMatchObject({
      serial: { mode: 'File', file: '/run/pv/abcdef012345/console.log' },
      console: { mode: 'Pty' },
      payload: { cmdline: expect.stringMatching(/^console=ttyS0 polyvisor_console=\/dev\/hvc0 .*quiet/) as unknown },
    });
    expect(planned().paths).toEqual(expect.arrayContaining(['/dev/kvm', '/dev/ptmx', '/dev/pts', '/boot/vmlinuz']));
  });

  it('shows a root image as memory, or as a disk', () => {
    const input = { initrd: undefined, image: '/images/root.img' } as unknown as VmConfigInput;
    expect(planned(input).config).toMatchObject({
      pmem: [{ id: 'rootfs', file: '/images/root.img', discard_writes: true }],
      payload: { cmdline: expect.stringContaining('root=/dev/pmem0 ro ') as unknown },
    });
    expect(planned({ ...input, disableImageNvdimm: true }).config).toMatchObject({
      disks: [{ id: 'rootfs', path: '/images/root.img', readonly: true, image_type: 'Raw' }],
      payload: { cmdline: expect.stringContaining('root=/dev/vda ro ') as unknown },
    });
    expect(planned(input).config).not.toHaveProperty('payload.initramfs');
  });

  it('has a balloon by which the guest gives back what it has freed', () => {
    expect(planned().config).not.toHaveProperty('balloon');
    expect(planned({ reclaimGuestFreedMemory: true }).config).toHaveProperty('balloon.free_page_reporting', true);
  });

  it('has no TPM, and Landlock when asked: by its VM alone, with what the user names', () => {
    expect(planned().config).not.toHaveProperty('tpm');
    expect(planned().config).not.toHaveProperty('landlock_enable');
    const rules = ['path=/disks, all,access=rw', 'path=/shared,access=r'];
    const hypervisorParams = [
      { key: '--landlock', value: '' },
      ...rules.map((value) => ({ key: 'landlock-rules', value })),
    ];
    const { argv, config, paths } = planned({ hypervisorParams });
    expect(argv).toBe(planned().argv);
    expect(config).toMatchObject({
      landlock_enable: true,
      landlock_rules: [
        { path: '/run/pv/abcdef012345', access: 'rw' },
        { path: '/dev/net/tun', access: 'rw' },
        { path: '/disks, all', access: 'rw' },
        { path: '/shared', access: 'r' },
      ],
    });
    // Without rules it sees neither: what it may need is shown when it does.
    expect(paths).toEqual(expect.arrayContaining(['/disks, all', '/shared', '/dev/net/tun']));
    for (const later of ['/dev/net/tun', '/dev/userfaultfd']) expect(planned().paths).not.toContain(later);
    expect(codeOf(() => planned({ hypervisorParams }, [], '41.0'))).toBe('HYPERVISOR_TOO_OLD hypervisorParams');
  });

  it.each<[key: string, value: string]>([
    ['--cpus', 'boot=2'],
    ['--seccomp', 'false'],
    ['--kernel', '/vmlinuz'],
    ['log-format', ''],
    ['constructor', ''],
    ['landlock', 'true'],
    ['landlock-rules', 'path=/disks,access=rw'],
  ])('refuses the parameter %s=%s', (key, value) => {
    expect(codeOf(() => planned({ hypervisorParams: [{ key, value }] }))).toBe('INVALID_CONFIG hypervisorParams');
  });

  it.each(['/disks', 'path=disks,access=rw', 'path=/disks,access=w', 'path=/disks', 'path=,access=r'])(
    'refuses the rule %s',
    (value) => {
      const hypervisorParams = [
        { key: 'landlock', value: '' },
        { key: 'landlock-rules', value },
      ];
      expect(codeOf(() => planned({ hypervisorParams }))).toBe('INVALID_CONFIG hypervisorParams');
    },
  );

  it('may lock memory for a device of the host, whose nodes it is shown', () => {
    const context = contextFor(cloudHypervisor);
    const device: OwnDevice = { kind: 'vfio', id: 'v', address: '0000:03:00.0', node: '/dev/vfio/7' };
    const { paths, lockMemory } = planWith(context, '/bin/ch', { devices: [device] });
    expect(lockMemory).toBe(true);
    expect(paths).toEqual(
      expect.arrayContaining([
        { path: '/dev/vfio/vfio', access: 'write' },
        { path: '/dev/vfio/7', access: 'write' },
        { path: '/sys/bus/pci/devices/0000:03:00.0', access: 'read' },
      ]),
    );
    expect(planWith(context, '/bin/ch', { devices: [] }).lockMemory).toBe(false);
  });

  it.each<[VmConfigInput, string]>([
    [{ useVsock: false }, 'INVALID_CONFIG useVsock'],
    [{ sharedFs: 'virtio-9p' }, 'INVALID_CONFIG sharedFs'],
    [{ blockDeviceDriver: 'virtio-scsi' }, 'INVALID_CONFIG blockDeviceDriver'],
    [{ hugePages: true, memoryMiB: 333 }, 'INVALID_CONFIG memoryMiB'],
    [{ firmware: '/ovmf' }, 'INVALID_CONFIG firmware'],
    [{ machineType: 'q35' }, 'INVALID_CONFIG machineType'],
  ])('refuses %j', (input, expected) => {
    expect(codeOf(() => planned(input))).toBe(expected);
  });

  it('names every device that was added before the start', () => {
    const devices: OwnDevice[] = [
      {
        kind: 'block',
        id: 'a',
        path: '/a',
        format: 'qcow2',
        readOnly: true,
        rateLimit: { bytesPerSecond: 5, operationsPerSecond: 6 },
      },
      { kind: 'block', id: 'b', path: '/b', format: 'raw', readOnly: false, driver: 'nvdimm' },
      { kind: 'net', id: 'n', tap: 'tap0', queues: 2 },
      { kind: 'fs', id: 'f', path: '/f', tag: 'files', readOnly: false },
      { kind: 'vfio', id: 'v', address: '0000:03:00.0' },
      { kind: 'vhost-user', id: 'u', type: 'blk', socket: '/u' },
      { kind: 'vhost-user', id: 'w', type: 'net', socket: '/w', mac: '02:00:00:00:00:01' },
      { kind: 'vhost-user', id: 'x', type: 'fs', socket: '/x', tag: 'other' },
    ];
    const limiter = { bandwidth: { size: 5, refill_time: 1000 }, ops: { size: 6, refill_time: 1000 } };
    const { config, paths } = planned(shared, devices);
    expect(config).toMatchObject({
      disks: [
        {
          id: 'a',
          path: '/a',
          readonly: true,
          image_type: 'Qcow2',
          backing_files: false,
          rate_limiter_config: limiter,
        },
        { id: 'u', vhost_user: true, vhost_socket: '/u' },
      ],
      pmem: [{ id: 'b', file: '/b', discard_writes: false }],
      net: [
        { id: 'n', tap: 'tap0', num_queues: 4, mac: expect.stringMatching(/^02(:[0-9a-f]{2}){5}$/) as unknown },
        { id: 'w', vhost_user: true, vhost_socket: '/w', mac: '02:00:00:00:00:01' },
      ],
      fs: [
        { id: 'f', tag: 'files' },
        { id: 'x', tag: 'other', socket: '/x' },
      ],
      devices: [{ id: 'v', path: '/sys/bus/pci/devices/0000:03:00.0' }],
    });
    // The folder is its daemon's affair.
    expect(paths).toEqual(expect.arrayContaining(['/a', '/b', '/u', '/w', '/dev/net/tun']));
    expect(paths).not.toContain('/f');
  });
});
