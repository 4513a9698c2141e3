import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { HypervisorConfig, VmConfigInput } from '../../../../src/config/vm-config.ts';
import type { NamedDevice } from '../../../../src/hypervisors/device.ts';
import { resizeVcpus } from '../../../../src/hypervisors/qemu/control-cpus.ts';
import { resizeMemory } from '../../../../src/hypervisors/qemu/control-memory.ts';
import { counters } from '../../../../src/hypervisors/qemu/control-statistics.ts';
import { qemu } from '../../../../src/hypervisors/qemu/index.ts';
import { partsOf } from '../../../../src/hypervisors/qemu/devices-kinds.ts';
import { makeBackend, removeBackend } from '../../../../src/hypervisors/qemu/devices-parts.ts';
import { type Placed, placeDevice } from '../../../../src/hypervisors/qemu/devices-place.ts';
import { plan } from '../../../../src/hypervisors/qemu/plan.ts';
import { restorePlan } from '../../../../src/hypervisors/qemu/plan-restore.ts';
import type { SavedMachine } from '../../../../src/hypervisors/qemu/state-saved.ts';
import type { QmpClient } from '../../../../src/transports/qmp/client.ts';
import { contextFor } from '../fixture.ts';

/** What scripts/record-qemu.ts wrote down of a QEMU. */
interface Recorded {
  commands: Record<string, { name: string; optional: boolean }[] | undefined>;
  events: string[];
  devices: Record<string, string[] | undefined>;
  objects: Record<string, string[] | undefined>;
}

const recorded = (version: string): Recorded =>
  JSON.parse(
    readFileSync(new URL(`../../../fixtures/qemu-${version}/interface.json`, import.meta.url), 'utf8'),
  ) as Recorded;

const configs: Readonly<Record<string, VmConfigInput>> = {
  defaults: {},
  pc: { machineType: 'pc' },
  'root ports and an image': { pcieRootPorts: 3, initrd: undefined, image: '/boot/root.img' },
  'every kind of memory at once': {
    hugePages: true,
    memPrealloc: true,
    virtioMem: true,
    reclaimGuestFreedMemory: true,
  },
  'file-backed memory': { fileBackedMemRootDir: '/dev/shm', virtioMem: true },
  NUMA: { numaMapping: ['0', '1-2'], memPrealloc: true },
  'an IOMMU and a dump': { iommu: true, guestMemoryDumpPath: '/var/crash' },
};
const devices: readonly NamedDevice[] = [
  {
    kind: 'block',
    id: 'blk',
    path: '/a,b "c".img',
    format: 'raw',
    readOnly: false,
    serial: 'x',
    ioThread: true,
    aio: 'native',
    cache: { direct: true, noFlush: true },
  },
  {
    kind: 'block',
    id: 'scsi',
    path: '/q',
    format: 'qcow2',
    readOnly: true,
    driver: 'virtio-scsi',
    backing: { path: '/base', format: 'raw' },
  },
  {
    kind: 'block',
    id: 'limited',
    path: '/l',
    format: 'raw',
    readOnly: true,
    rateLimit: { bytesPerSecond: 1, operationsPerSecond: 2 },
  },
  { kind: 'block', id: 'nv', path: '/nv', format: 'raw', readOnly: true, driver: 'nvdimm' },
  { kind: 'net', id: 'user' },
  { kind: 'net', id: 'tap', tap: 't,0', queues: 4, vhost: true },
  { kind: 'fs', id: 'fs', path: '/f', tag: 'fs', readOnly: false, driver: 'virtio-fs' },
  { kind: 'fs', id: 'nine', path: '/a,b', tag: 'nine', readOnly: true, driver: 'virtio-9p' },
  { kind: 'serial-port', id: 'port', name: 'p' },
  { kind: 'vsock', id: 'vs', contextId: 42 },
  { kind: 'vfio', id: 'vfio', address: '0000:03:00.0' },
  { kind: 'vhost-user', id: 'vb', type: 'blk', socket: '/s', queues: 2 },
  { kind: 'vhost-user', id: 'vsc', type: 'scsi', socket: '/s' },
  { kind: 'vhost-user', id: 'vn', type: 'net', socket: '/s', queues: 2 },
  { kind: 'vhost-user', id: 'vf', type: 'fs', socket: '/s', tag: 't' },
];

/** Each with a place. */
function placed(config: HypervisorConfig): Placed[] {
  let all: Placed[] = [];
  for (const device of devices) all = [...all, ...placeDevice(all, device, config)];
  return all;
}

const saved: SavedMachine = {
  schema: 1,
  version: '7.2.0',
  machineType: 'pc-q35-7.2',
  hostMemoryMiB: 16_000,
  vcpus: 1,
  pluggedCpus: [],
  modules: [{ slot: 1, sizeMiB: 128, addr: 2 ** 32 }],
  devices: [],
  stream: { bytes: 1, sha256: 'a' },
};

describe.each(['7.2', '10.0'])('QEMU %s', (version) => {
  const known = recorded(version);

  it.each(Object.entries(configs))('knows all that it is told: %s', (_, input) => {
    const context = contextFor(qemu, input);
    for (const { argv } of [plan(context, '/bin/qemu'), restorePlan(context, '/bin/qemu', saved)]) {
      for (const [option, properties] of jsonOptions(argv)) {
        const { driver, 'qom-type': type, id: _id, bus: _bus, ...rest } = properties;
        const names = option === '-device' ? known.devices[String(driver)] : known.objects[String(type)];
        expect(names, `${option} ${String(driver ?? type)}`).toBeDefined();
        // `addr` of a PCI device is a property of its bus' kind, which some versions' help leaves out.
        expect(Object.keys(rest).filter((name) => names?.includes(name) === false && name !== 'addr')).toEqual([]);
      }
    }
  });

  it('that goes on by itself listens without being asked, and does not wait', () => {
    const context = contextFor(qemu, {});
    const asked = restorePlan(context, '/bin/qemu', saved);
    const byItself = restorePlan(context, '/bin/qemu', saved, '/memory', true);
    expect(asked.argv).toContain('-S');
    expect(byItself.argv).not.toContain('-S');
    const told = (of: typeof asked): string[] =>
      (of.files.find(({ path }) => path.endsWith('ev.in'))?.content ?? '')
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { execute: string }).execute);
    expect(told(asked)).toEqual(['qmp_capabilities']);
    expect(told(byItself)).toEqual(['qmp_capabilities', 'migrate-set-capabilities', 'migrate-incoming']);
  });

  it.each(['q35', 'pc'])('knows every device, as it is plugged into %s, and every part of it', async (machineType) => {
    const context = contextFor(qemu, { machineType, enableIoThreads: true, blockDeviceDriver: 'virtio-scsi' });
    const { qmp, asked } = scripted();
    for (const one of placed(context.config)) {
      const { backends, device } = partsOf(one, context);
      const { driver, id: _id, bus: _bus, ...rest } = device;
      const names = known.devices[driver];
      expect(names, driver).toBeDefined();
      const positions = ['addr', 'scsi-id', 'lun'];
      expect(Object.keys(rest).filter((name) => names?.includes(name) === false && !positions.includes(name))).toEqual(
        [],
      );
      for (const backend of backends) {
        if (backend.type !== 'fsdev') await makeBackend(qmp, backend, {});
        await removeBackend(qmp, backend, {});
        if (backend.type !== 'object') continue;
        const { 'qom-type': type, id: _of, ...properties } = backend.properties;
        expect(Object.keys(properties).filter((name) => known.objects[type]?.includes(name) !== true)).toEqual([]);
      }
    }
    for (const { command, args } of asked.filter((it) => !it.command.startsWith('object-'))) {
      const takes = known.commands[command];
      expect(takes, command).toBeDefined();
      expect(takes?.filter(({ name, optional }) => !optional && !(name in args))).toEqual([]);
    }
  });

  it('knows the commands and events of the driver, and their arguments', async () => {
    const context = contextFor(qemu, { vcpus: 1, maxVcpus: 2 });
    const { qmp, asked } = scripted();
    await resizeMemory(qmp, 4096, 128, { ...context, accel: 'kvm' }, {});
    await resizeVcpus(qmp, 2, { ...context, accel: 'kvm' }, {});
    await counters(qmp, true, {});
    expect(asked.map(({ command }) => command)).toEqual(
      expect.arrayContaining(['object-add', 'device_add', 'query-balloon']),
    );
    for (const { command, args } of asked) {
      const takes = known.commands[command];
      expect(takes, command).toBeDefined();
      // A device's and an object's own properties are not in the schema.
      if (command === 'device_add' || command === 'object-add') continue;
      expect(Object.keys(args).filter((name) => takes?.every((it) => it.name !== name))).toEqual([]);
      expect(takes?.filter(({ name, optional }) => !optional && !(name in args))).toEqual([]);
    }
    expect(known.events).toContain('ACPI_DEVICE_OST');
  });
});

function jsonOptions(argv: readonly string[]): [option: string, properties: Record<string, unknown>][] {
  return argv.flatMap((word, at) => {
    const before = argv[at - 1] ?? '';
    const isJson = (before === '-device' || before === '-object') && word.startsWith('{');
    return isJson ? [[before, JSON.parse(word) as Record<string, unknown>]] : [];
  });
}

/** A monitor that answers as a machine with one vCPU, room for another, and no modules. */
function scripted(): { qmp: QmpClient; asked: { command: string; args: Record<string, unknown> }[] } {
  const asked: { command: string; args: Record<string, unknown> }[] = [];
  const answers: Record<string, unknown> = {
    'query-memory-devices': [],
    'query-memory-size-summary': { 'base-memory': 2048 * 2 ** 20, 'plugged-memory': 0 },
    'query-hotpluggable-cpus': [
      { type: 'host-x86_64-cpu', 'vcpus-count': 1, props: { 'core-id': 1 } },
      {
        type: 'host-x86_64-cpu',
        'vcpus-count': 1,
        props: { 'core-id': 0 },
        'qom-path': '/machine/unattached/device[0]',
      },
    ],
    'query-cpus-fast': [],
    'query-blockstats': [],
    'query-balloon': { actual: 2 ** 30 },
  };
  const qmp = {
    execute: async (command: string, args: Record<string, unknown> = {}) => {
      asked.push({ command, args });
      return answers[command] ?? {};
    },
    nextEvent: async () => ({ event: 'ACPI_DEVICE_OST', data: {} }),
  };
  return { qmp: qmp as unknown as QmpClient, asked };
}
